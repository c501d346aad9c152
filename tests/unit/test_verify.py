"""The checker finds a sound run clean, and each invariant that is broken, with the ids that break it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from live_adapters.pipeline.hoplog import GENERATOR_ACKS, HopLog
from live_adapters.verify import evidence as names
from live_adapters.verify.acked import ACKED, REFUSED, UNKNOWN, Answers, answers
from live_adapters.verify.evidence import INVARIANTS
from live_adapters.verify.held import PLACES, PROGRESS
from live_adapters.verify.judge import FAULT, NODATA, OK, Finding, judge_evidence
from live_adapters.verify.offenders import CAP
from live_adapters.verify.replay import window_of
from tests.unit.drained_runs import EVENTS, DrainedRun, all_acked, events_of


def findings(run: DrainedRun) -> dict[str, Finding]:
    found = judge_evidence(run.evidence())
    assert [finding.invariant for finding in found] == list(INVARIANTS)
    return {finding.invariant: finding for finding in found}


def faults(run: DrainedRun) -> dict[str, Finding]:
    return {name: finding for name, finding in findings(run).items() if finding.verdict == FAULT}


def ids(finding: Finding) -> list[int | None]:
    return [offence.sequence for offence in finding.ids]


def test_a_sound_run_keeps_every_invariant() -> None:
    found = findings(DrainedRun())
    assert {name: finding.verdict for name, finding in found.items()} == dict.fromkeys(INVARIANTS, OK) | {
        names.ONLINE: NODATA  # nothing ran beside it
    }
    assert found[names.ONCE].detail == "80 effects of 80 distinct ids"


def test_repetitions_that_the_worker_refuses_are_no_fault() -> None:
    run = DrainedRun()
    events = events_of(1)
    run.relog(1, np.concatenate([events, events[30:]]))
    assert faults(run) == {}


def test_an_acknowledged_event_that_the_log_lost_is_named() -> None:
    run = DrainedRun()
    run.relog(1, np.delete(events_of(1), [3, 4]))  # sequences 7 and 9
    run.apply_again(events_of(1)[3:5], -1)
    for table in ("fills", "sent", "delivered"):
        run.bend(table, (1 << 40) + 1, -2, by="frame")
    found = faults(run)
    assert list(found) == [names.ACKED]
    assert ids(found[names.ACKED]) == [7, 9]
    assert found[names.ACKED].detail == "2 of 80 acknowledged have no effect"
    assert found[names.ACKED].ids[0].what == "acknowledged, but the log does not hold it"


def test_an_acknowledged_event_behind_its_sessions_mark_is_named_with_its_place() -> None:
    run = DrainedRun()
    events = events_of(1)
    run.relog(1, events[[*range(5), 6, 5, *range(7, 40)]])  # sequences 13 and 11 change places
    run.apply_again(events[5:6], -1)
    for table in ("fills", "sent", "delivered"):
        run.bend(table, (1 << 40) + 1, -1, by="frame")
    (offence,) = faults(run)[names.ACKED].ids
    assert (offence.session, offence.sequence, offence.partition, offence.offset) == (1, 11, 1, 6)


def test_a_batch_that_took_effect_twice_is_named_whole() -> None:
    run = DrainedRun()
    run.apply_again(events_of(0)[12:24])
    found = faults(run)
    assert ids(found[names.ONCE]) == list(range(26, 50, 2))
    assert found[names.ONCE].detail == "92 effects of 80 distinct ids, 12 too many"
    assert ids(found[names.VERSION]) == list(range(26, 50, 2))
    assert found[names.ONCE].ids[0].what == "took effect twice: its batch was applied again"


def test_a_repetition_that_took_effect_again_is_named_where_it_came_again() -> None:
    run = DrainedRun()
    events = events_of(1)
    run.relog(1, np.concatenate([events, events[35:]]))
    run.apply_again(events[35:])
    found = faults(run)
    assert [(x.sequence, x.offset) for x in found[names.ONCE].ids] == [(71, 40), (73, 41), (75, 42), (77, 43), (79, 44)]
    assert found[names.ONCE].ids[0].place == f"1:71 (key {events['key'][35]}, partition 1, offset 40)"


def test_a_batch_without_effect_is_named_whole() -> None:
    run = DrainedRun()
    run.apply_again(events_of(0)[5:15], -1)
    found = faults(run)
    assert ids(found[names.ACKED]) == list(range(12, 32, 2))
    assert names.ONCE not in found


def test_a_quantity_that_differs_breaks_the_key_s_steps_and_rounding_does_not() -> None:
    run = DrainedRun()
    for table in ("postgres", "redis", "clickhouse"):
        run.bend(table, 2, 0, 1e-12)
    assert faults(run) == {}
    for table in ("postgres", "redis", "clickhouse"):
        run.bend(table, 2, 0, 0.001)
    found = faults(run)
    assert list(found) == [names.VERSION]
    events = events_of(0)
    assert ids(found[names.VERSION]) == [int(events["sequence"][events["key"] == 2][-1])]


def test_an_effect_of_an_id_that_nobody_sent_is_named() -> None:
    run = DrainedRun(answers=all_acked(EVENTS - 2))
    found = faults(run)
    assert list(found) == [names.SENT]
    assert sorted(x.sequence or 0 for x in found[names.SENT].ids) == [79, 80]


def test_a_key_that_the_log_does_not_hold_is_a_fault_though_no_id_is_known() -> None:
    run = DrainedRun()
    stray = pl.DataFrame({"key": [98], "version": [1], "quantity": [1.0]})
    more = {table: pl.concat([getattr(run.held, table), stray]) for table in ("redis", "clickhouse")}
    postgres = pl.concat([run.held.postgres, stray.with_columns(partition=pl.lit(0, dtype=pl.Int32))])
    run.held = replace(run.held, postgres=postgres, **more)
    found = faults(run)
    assert found[names.SENT].detail == "0 effects of ids that nobody sent, 1 keys that the log does not hold"


def test_a_frame_that_subscribers_got_twice_is_named_event_by_event() -> None:
    run = DrainedRun()
    run.bend("delivered", 2, 10, by="frame")
    found = faults(run)
    assert list(found) == [names.OUTBOX]
    assert ids(found[names.OUTBOX]) == list(range(22, 42, 2))
    assert found[names.OUTBOX].ids[0].what == "subscribers got 20 events of its frame, in effect are 10"


def test_a_frame_that_was_delivered_and_that_the_log_does_not_hold_is_a_fault() -> None:
    run = DrainedRun()
    run.held = replace(run.held, delivered=pl.concat([run.held.delivered, pl.DataFrame({"frame": [99], "rows": [3]})]))
    found = faults(run)
    assert list(found) == [names.OUTBOX]
    assert found[names.OUTBOX].detail.endswith("0 not whole, 1 that the log does not hold")


@pytest.mark.parametrize(("drained", "verdict"), [(True, FAULT), (False, NODATA)])
def test_what_was_not_delivered_is_a_fault_only_after_the_run_has_drained(drained: bool, verdict: str) -> None:
    run = DrainedRun(drained=drained)
    run.bend("delivered", 2, -10, by="frame")
    assert findings(run)[names.OUTBOX].verdict == verdict


def test_redis_behind_postgres_is_named_by_the_key_s_last_event() -> None:
    run = DrainedRun()
    run.bend("redis", 3, -1, -0.5)
    found = faults(run)
    assert list(found) == [names.REDIS]
    events = events_of(1)
    assert ids(found[names.REDIS]) == [int(events["sequence"][events["key"] == 3][-1])]


def test_rows_twice_in_clickhouse_are_named_by_their_frame() -> None:
    run = DrainedRun()
    for event in events_of(0)[:10]:
        run.bend("clickhouse", int(event["key"]), 1, float(event["quantity"]))
    run.bend("fills", 1, 10, by="frame")
    found = faults(run)
    assert list(found) == [names.CLICKHOUSE]
    assert ids(found[names.CLICKHOUSE]) == list(range(2, 22, 2))


def test_an_event_without_an_answer_may_be_in_effect_or_not_and_a_refused_one_must_not() -> None:
    states = np.full(EVENTS + 3, ACKED, dtype=np.uint8)
    states[0], states[[10, 81]], states[82] = 0, UNKNOWN, REFUSED  # 10 took effect, 81 never reached the log
    run = DrainedRun(answers=Answers(states, 79, True))
    found = findings(run)
    assert {finding.verdict for finding in found.values()} == {OK, NODATA}
    assert found[names.UNKNOWN].detail == "2 without an answer, each in effect once or not at all"

    states[4] = REFUSED
    found = faults(DrainedRun(answers=Answers(states, 78, True)))
    assert list(found) == [names.UNKNOWN]
    assert ids(found[names.UNKNOWN]) == [4]


def test_a_generator_that_only_counted_cannot_say_which_were_acknowledged_but_how_many_are_missing() -> None:
    states = np.full(EVENTS + 11, UNKNOWN, dtype=np.uint8)
    states[0] = 0
    found = findings(DrainedRun(answers=Answers(states, EVENTS, False)))
    assert (found[names.ACKED].verdict, found[names.UNKNOWN].verdict) == (OK, NODATA)
    found = findings(DrainedRun(answers=Answers(states, EVENTS + 3, False)))
    assert (found[names.ACKED].verdict, found[names.ACKED].ids) == (FAULT, ())
    assert found[names.ACKED].detail == "3 of 83 acknowledged have no effect"


def test_a_bad_record_must_be_a_dead_letter_and_published() -> None:
    run = DrainedRun()
    run.relog(0, events_of(0), unreadable=2)
    found = faults(run)
    assert list(found) == [names.DEAD]
    assert [(x.partition, x.offset) for x in found[names.DEAD].ids] == [(0, 40), (0, 41)]

    letters = pl.DataFrame({"partition": [0, 0], "offset": [40, 41]}, schema=PLACES)
    run.held = replace(run.held, letters=letters, published=letters[:1])
    found = faults(run)
    assert found[names.DEAD].detail == "0 missing, 0 without a fault in the log, 1 not published"
    run.held = replace(run.held, published=letters)
    assert faults(run) == {}


def test_a_log_whose_beginning_is_gone_is_nodata_and_never_clean() -> None:
    run = DrainedRun()
    run.logs[0] = replace(run.logs[0], first_offset=5, events=run.logs[0].events[5:], offsets=run.logs[0].offsets[5:])
    found = findings(run)
    assert found[names.ACKED].verdict == NODATA
    assert found[names.ACKED].detail == "the log of partitions 0 is not whole any more"
    told = {name: finding.verdict for name, finding in found.items()}
    assert told[names.REDIS] == told[names.CLICKHOUSE] == OK
    assert {told[name] for name in (names.ONCE, names.VERSION, names.SENT, names.OUTBOX, names.DEAD)} == {NODATA}


def test_what_no_worker_has_taken_yet_is_neither_lost_nor_in_effect() -> None:
    run = DrainedRun(drained=False)
    ends = [(0, 0, 40, 0, 0), (1, 0, 30, 0, 0)]
    run.held = replace(run.held, progress=pl.DataFrame(ends, schema=PROGRESS, orient="row"))
    run.apply_again(events_of(1)[30:], -1)
    for table in ("fills", "sent", "delivered"):
        run.bend(table, (1 << 40) + 4, -10, by="frame")
    found = findings(run)
    assert found[names.ACKED].verdict == NODATA
    assert found[names.ACKED].detail == "10 acknowledged were still in the log when the run ended"
    assert {finding.verdict for finding in found.values()} == {OK, NODATA}


def test_a_long_list_of_ids_is_cut_and_the_rest_counted() -> None:
    run = DrainedRun(answers=all_acked(EVENTS + 3 * CAP))
    finding = faults(run)[names.ACKED]
    assert (len(finding.ids), finding.more) == (CAP, 2 * CAP)


def test_answers_come_from_the_generators_log_and_one_acknowledgement_is_enough(tmp_path: Path) -> None:
    log = HopLog(tmp_path, *GENERATOR_ACKS)
    rows = [(1, 1, 10, 5, 1), (2, 11, 20, 0, 3), (2, 11, 20, 9, 1), (3, 21, 25, 0, 3), (4, 26, 30, 7, 2)]
    log.append(np.array(rows, dtype=GENERATOR_ACKS[2]))
    log.close()
    found = answers(tmp_path, sent=30, acked=0)
    assert (found.acked, found.which, found.sent) == (20, True, 30)
    assert found.states[[1, 15, 22, 30]].tolist() == [ACKED, ACKED, UNKNOWN, REFUSED]
    assert found.of(np.array([30, 31], dtype=np.uint64)).tolist() == [REFUSED, 0]


def test_a_window_is_found_only_where_every_key_is_as_often_as_wanted() -> None:
    keys = np.array([1, 2, 2, 3, 1, 1, 3])
    assert window_of(keys, {1: 2, 2: 1}) is None
    assert window_of(keys, {1: 1, 2: 1}) == slice(0, 2)
    assert window_of(keys, {1: 2, 3: 1}) == slice(3, 6)
    assert window_of(keys, {4: 1}) is None
    assert window_of(keys, {}) is None

"""The checker beside a run: sound traffic in any order is no offence; what breaks a rule is told at once."""

from __future__ import annotations

import numpy as np
import pytest

from live_adapters.pipeline.edge.broadcast import SHARE
from live_adapters.verify import audit as module
from live_adapters.verify import evidence as names
from live_adapters.verify.audit import Audit
from live_adapters.verify.examine import Examiner
from live_adapters.verify.judge import judge_evidence
from tests.unit.drained_runs import FRAME_EVENTS, DrainedRun, events_of, log_of


def share(frame: int, next_offset: int, rows: int = FRAME_EVENTS, partition: int = 0) -> np.ndarray:
    return np.array([(frame, next_offset, partition, rows)], dtype=SHARE)


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def audit(told: list[str]) -> Audit:
    return Audit(told.append)


def test_deliveries_before_and_after_their_records_are_both_sound(audit: Audit, told: list[str]) -> None:
    audit.deliver(1, share(1, 10, rows=4))
    audit.read(log_of(0, events_of(0)[:20]))
    audit.deliver(2, share(1, 10, rows=6))
    audit.deliver(1, share(2, 20))
    assert told == []
    assert audit.report() == {
        "records": 20, "taken": 20, "repeated": 0, "dead": 0, "unread": 0,
        "delivered": 20, "offences": 0, "given_up": 0, "undelivered": 0,
    }  # fmt: skip


def test_marks_are_kept_from_one_read_to_the_next(audit: Audit) -> None:
    audit.read(log_of(0, events_of(0)[:20]))
    audit.read(log_of(0, events_of(0)[10:30], first=20))
    assert (audit.counters["taken"], audit.counters["repeated"]) == (30, 10)
    assert sum(audit.keys()["version"]) == 30


def test_an_outbox_id_that_comes_twice_is_told_at_once_and_only_the_first_time(audit: Audit, told: list[str]) -> None:
    audit.read(log_of(0, events_of(0)))
    for _ in range(3):
        audit.deliver(7, share(1, 10))
    assert told == ["first offence: tenant 7 got partition 0, offset 9 (frame 1) again"]
    assert audit.counters["offences"] == 2


def test_a_delivery_that_the_log_does_not_hold_is_an_offence(audit: Audit, told: list[str]) -> None:
    audit.read(log_of(0, events_of(0)[:20]))
    audit.deliver(1, share(1, 10, rows=12))
    audit.deliver(1, share(9, 20, rows=1))
    assert audit.counters["offences"] == 2
    assert told == ["first offence: 2 events of frame 1 delivered that partition 0 does not hold, up to 9"]


def test_a_frame_of_repetitions_must_not_be_delivered(audit: Audit) -> None:
    again = events_of(0)[:10].copy()
    again["frame"] = 77
    audit.read(log_of(0, events_of(0)[:10]))
    audit.read(log_of(0, again, first=10))
    audit.deliver(1, share(77, 20))
    assert audit.counters["offences"] == 1


def test_memory_stays_bounded_when_nothing_is_delivered(audit: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 2)
    audit.read(log_of(0, events_of(0)))
    assert (audit.counters["given_up"], audit.undelivered) == (20, 20)


def test_records_that_were_gone_before_they_were_read_are_counted(audit: Audit) -> None:
    audit.read(log_of(0, events_of(0)[:10]))
    audit.read(log_of(0, events_of(0)[15:], first=15))
    assert audit.counters["unread"] == 5


@pytest.mark.parametrize("bent", [False, True])
def test_a_run_whose_log_is_gone_is_judged_by_what_the_checker_followed(audit: Audit, bent: bool) -> None:
    run = DrainedRun()
    for log in run.logs:
        audit.read(log)
    if bent:
        run.apply_again(events_of(0)[:3])
    examiner = Examiner(run.held, run.answers, drained=True)
    examiner.audited(audit.report(), audit.keys())
    for partition in (0, 1):
        examiner.take(log_of(partition, events_of(partition)[20:], first=20))
    found = {finding.invariant: finding for finding in judge_evidence(examiner.evidence())}
    assert found[names.ACKED].verdict == "ok"
    assert found[names.ONCE].verdict == found[names.VERSION].verdict == ("FAULT" if bent else "ok")
    assert found[names.SENT].verdict == found[names.OUTBOX].verdict == "nodata"
    assert found[names.ONLINE].verdict == "ok"

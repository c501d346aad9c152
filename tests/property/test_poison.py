"""Poison events: put aside they leave the others alone, without a dead-letter queue they stand in the way; both engines alike."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sentra_sim.engine import Change, Trace, prepare, simulate
from sentra_sim.engine.run import start
from sentra_sim.engine.trace import DLQ, LOST, OK, OPEN
from sentra_sim.errors import InputError, ScenarioError
from sentra_sim.kpi import kpis
from sentra_sim.records import Run
from sentra_sim.scenario import Scenario
from tests.pipelines import bare, event_times, hop_times
from tests.property.test_engines_equal import play_both

WORK_S = 1e-4
SHARE = 0.01


def poisoned(share: float | None = SHARE, **changes: Any) -> Scenario:
    """Two partitions with a consumer each, frames of ten events, a store that works 0.1 ms on an event."""
    group = {"kind": "consumer_group", "host": "ample", "replicas": 2, "calls": ["store"], "poison_share": share}
    store = {"kind": "store", "host": "ample", "hop": "stored", "demand": {"event_s": WORK_S}}
    return bare(
        {
            "load.rate_eps": 1000.0,
            "load.keys": 1000,
            "load.key_skew": 0.0,
            "stations.log.partitions": 2,
            "stations.batcher.max_events": 10,
            "stations.batcher.linger_s": 0.1,
            "stations.group": group,
            "stations.store": store,
        }
        | changes
    )


def play(scenario: Scenario, *changes: Change, seconds: float = 2.0) -> Trace:
    return play_both(scenario, seconds=seconds, seed=2, changes=changes)


def bad_by_frame(trace: Trace) -> np.ndarray:
    return np.bincount(trace.frame[trace.poison], minlength=len(trace.events))


def test_only_bad_events_are_put_aside_and_their_good_frames_go_on_at_once() -> None:
    scenario = poisoned()
    trace, clean = play(scenario), play(poisoned(None))
    assert 10 < trace.poison.sum() < 40
    np.testing.assert_array_equal(trace.dead, bad_by_frame(trace))
    assert (trace.outcome == OK).all()
    assert (trace.attempts == 1).all()
    waited = hop_times(scenario, trace, "stored") - hop_times(scenario, clean, "stored")
    assert (waited < 1e-9).all()  # nobody waits for a bad event, and the store has less to do
    good = clean.cpu_s.sum() - WORK_S * trace.poison.sum()
    assert trace.cpu_s.sum() == pytest.approx(good)


def test_a_frame_of_bad_events_alone_is_a_dead_letter_and_calls_nobody() -> None:
    scenario = poisoned(0.3, **{"stations.batcher.max_events": 1})
    trace = play(scenario)
    np.testing.assert_array_equal(trace.outcome == DLQ, bad_by_frame(trace) == 1)
    stored = hop_times(scenario, trace, "stored")
    np.testing.assert_array_equal(np.isnan(stored), trace.outcome == DLQ)
    assert trace.cpu_s.sum() == pytest.approx(WORK_S * (trace.outcome == OK).sum())


def test_in_the_record_a_bad_event_is_a_frame_of_its_own_and_every_event_counts_once() -> None:
    tables, manifest = simulate(poisoned(), seconds=2.0, warmup_s=0.0, seed=2)
    counters, frames = manifest.counters, tables.frames
    assert counters["offered"] == counters["delivered"] + counters["dlq"] == 2000
    assert counters["dlq"] > 10
    dead = frames.filter(frames["outcome"] == "dlq")
    assert dead["events"].sum() == counters["dlq"]
    assert dead["stored_ns"].is_null().all()
    assert dead["started_ns"].is_not_null().all()
    assert frames["events"].sum() == len(tables.events) == 2000
    held = tables.events.group_by("frame").len().sort("frame")
    assert held["len"].to_list() == frames["events"].to_list()


def test_without_a_dead_letter_queue_a_poison_event_holds_its_consumer_up_for_ever() -> None:
    """Head-of-line blocking: of each partition all is stored that came before its first bad event, and nothing after it."""
    keys = {"stations.group.dlq": False, "stations.group.retry": {"attempts": 0, "base_s": 0.01, "cap_s": 0.1}}
    scenario = poisoned(0.002, **keys)
    trace = play(scenario)
    stored, bad = np.isfinite(hop_times(scenario, trace, "stored")), bad_by_frame(trace)
    for partition in (0, 1):
        own = np.flatnonzero(trace.partition == partition)
        first = np.flatnonzero(bad[own])[0]
        assert stored[own[:first]].all()
        assert not stored[own[first:]].any()
    firsts = [np.flatnonzero((trace.partition == number) & (bad > 0))[0] for number in (0, 1)]
    assert firsts[0] != firsts[1]
    assert (trace.attempts[firsts] > 50).all()
    assert (trace.outcome[~stored] == OPEN).all()
    lag = start(prepare(scenario, seconds=2.0, seed=2))
    lag.advance(2.0)
    assert lag.lag_events > 500


def test_attempts_that_are_over_let_the_partition_go_on_and_the_bad_event_is_lost() -> None:
    retry = {"attempts": 4, "base_s": 0.01, "cap_s": 0.02}
    scenario = poisoned(**{"stations.group.dlq": False, "stations.group.retry": retry})
    trace, aside = play(scenario), play(poisoned())
    np.testing.assert_array_equal(trace.dead, bad_by_frame(trace))
    polls = np.unique(trace.poll[trace.dead > 0])
    assert (trace.attempts[np.isin(trace.poll, polls)] == 4).all()
    assert (trace.attempts[~np.isin(trace.poll, polls)] == 1).all()
    assert (trace.outcome == OK).all()
    waits = [hop_times(scenario, each, "stored") - hop_times(scenario, each, "acked") for each in (trace, aside)]
    assert waits[0].max() > 0.02  # three pauses
    assert waits[1].max() < 0.005
    _, manifest = simulate(scenario, seconds=2.0, warmup_s=0.0, seed=2)
    counters = manifest.counters
    assert counters["lost"] == counters["acked_lost"] == trace.poison.sum() > 0
    assert counters["offered"] == counters["delivered"] + counters["lost"]


def test_every_attempt_costs_the_whole_poll_again() -> None:
    changes = {"stations.group.process": {"event_s": 1e-5}, "stations.group.dlq": False}
    trace = play(poisoned(**changes, **{"stations.group.retry": {"attempts": 3, "base_s": 0.0}}))
    again = trace.events[trace.attempts == 3].sum()
    assert again > 0
    spent = 1e-5 * (trace.events.sum() + 2 * again) + WORK_S * (trace.events - trace.dead).sum()
    assert trace.cpu_s.sum() == pytest.approx(spent)


def test_a_poll_that_is_given_up_without_a_dead_letter_queue_is_lost() -> None:
    retry = {"attempts": 2, "base_s": 0.001}
    for dlq, ends in ((True, DLQ), (False, LOST)):
        changes = {"stations.store.failure": 1.0, "stations.group.dlq": dlq, "stations.group.retry": retry}
        trace = play(poisoned(None, **changes), seconds=0.5)
        assert (trace.outcome == ends).all()


def test_a_producer_may_go_bad_for_a_while() -> None:
    scenario = poisoned(0.0)
    trace = play(scenario, Change(0.5, "poison", "group", 0.4), Change(1.0, "poison", "group", 0.0))
    received = event_times(scenario, trace, "received")
    inside = (received > 0.45) & (received < 1.05)
    assert not trace.poison[~inside].any()
    assert trace.poison[inside].mean() == pytest.approx(0.35, abs=0.06)
    assert (trace.dead == bad_by_frame(trace)).all()


def test_a_poison_event_follows_its_partition_to_the_next_consumer() -> None:
    """A consumer that cannot get past it is killed: the other one takes its partition over, and is held up as well."""
    keys = {"dlq": False, "retry": {"attempts": 0, "base_s": 0.01, "cap_s": 0.1}, "heartbeat_s": 0.02}
    keys |= {"session_timeout_s": 0.1, "join_s": 0.01}
    scenario = poisoned(0.0, **{f"stations.group.{key}": value for key, value in keys.items()})
    spoilt = [Change(0.5005, "poison", "group", 1.0), Change(0.5015, "poison", "group", 0.0)]
    trace = play(scenario, *spoilt)
    stuck = np.unique(trace.partition[bad_by_frame(trace) > 0])
    assert len(stuck) == 1
    started = hop_times(scenario, trace, "started")
    healthy = trace.partition != stuck[0]
    assert (healthy & (started > 1.8)).any()
    killed = play(scenario, *spoilt, Change(1.0, "kill", f"group-{stuck[0] + 1}"))
    started = hop_times(scenario, killed, "started")
    assert (started[healthy & (started > 0.9)] < 1.3).all()


def test_the_error_rate_counts_bad_events_one_by_one() -> None:
    scenario = poisoned(0.05, **{"slo": {"error_rate": {"max": 0.01}}})
    tables, manifest = simulate(scenario, seconds=2.0, warmup_s=0.0, seed=2)
    rate = manifest.counters["dlq"] / 2000
    found = {kpi.name: kpi.value for kpi in kpis(Run(Path("run"), manifest, tables))}
    assert found["error_rate"] == pytest.approx(rate)


def test_what_may_not_be_said_of_poison_is_refused() -> None:
    with pytest.raises(InputError, match="must be of a consumer group that sets poison_share, got 'group'; write"):
        play(poisoned(None), Change(0.1, "poison", "group", 0.1))
    with pytest.raises(InputError, match="must be a share from 0 to 1, got 2"):
        play(poisoned(), Change(0.1, "poison", "group", 2.0))
    with pytest.raises(ScenarioError, match="must have base_s and cap_s above 0 with attempts: 0"):
        poisoned(**{"stations.group.retry": {"attempts": 0, "base_s": 0.0}})

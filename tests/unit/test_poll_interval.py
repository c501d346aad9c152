"""Consumers whose polls take too long: they leave, others do the same again, they come back; and what cures that."""

from typing import Any

import numpy as np
import pytest

from sentra_sim.engine import Change, Trace, prepare
from sentra_sim.engine.run import Engine
from sentra_sim.engine.trace import DUPLICATE, OK
from sentra_sim.scenario import Scenario
from tests.pipelines import bare, hop_times
from tests.property.books import play_with_looks

ENGINES = pytest.mark.parametrize("engine", ["reference", "compiled"])


def group(**keys: Any) -> Scenario:
    """Two consumers on four partitions, 100 events/s; what they call takes 2 ms an event, after a burst some 0.4 s a poll."""
    pool = {"kind": "store", "host": "ample", "hop": "stored", "demand": {"event_s": 0.002}}
    return bare(
        {
            "load.rate_eps": 100.0,
            "stations.log.partitions": 4,
            "stations.group.replicas": 2,
            "stations.group.heartbeat_s": 0.01,
            "stations.group.session_timeout_s": 1.0,
            "stations.group.join_s": 0.01,
            "stations.group.ready_s": 0.01,
            "stations.group.calls": ["store"],
            "stations.store": pool,
        }
        | {f"stations.group.{key}": value for key, value in keys.items()}
    )


# For half a second nobody works, so that 50 events wait; then the station is slow for so long that it takes 20 ms an event.
SLOW = [
    Change(0.5, "pause", "store"),
    Change(1.0, "resume", "store"),
    Change(1.0, "demand", "store", 3.0),
    Change(3.0, "demand", "store", 0.5),
]


def play(scenario: Scenario, engine: Engine, *changes: Change, seconds: float = 4.0) -> Trace:
    return play_with_looks(prepare(scenario, seconds=seconds, seed=1), engine, changes, every_s=0.1)


@ENGINES
@pytest.mark.parametrize("rebalance", ["eager", "cooperative"])
def test_slow_polls_and_a_short_interval_are_a_storm_of_rebalances_with_duplicates(
    engine: Engine, rebalance: str
) -> None:
    trace = play(group(max_poll_interval_s=0.1, rebalance=rebalance), engine, *SLOW)
    assert (trace.outcome == DUPLICATE).sum() > 20
    assert trace.attempts.max() >= 3  # the same events, over and over
    calm = play(group(rebalance=rebalance), engine, *SLOW)
    assert set(calm.outcome) == {OK}
    assert (calm.attempts == 1).all()


@ENGINES
def test_fewer_events_a_poll_cure_it(engine: Engine) -> None:
    trace = play(group(max_poll_interval_s=0.1, max_poll_events=5), engine, *SLOW[2:])
    assert (trace.attempts == 1).all()
    assert set(trace.outcome) == {OK}


@ENGINES
def test_an_idempotent_group_does_it_again_without_effect(engine: Engine) -> None:
    trace = play(group(max_poll_interval_s=0.1, idempotent=True), engine, *SLOW)
    assert (trace.attempts > 1).any()
    assert set(trace.outcome) == {OK}


@ENGINES
def test_a_poll_that_is_never_answered_is_taken_by_others_while_its_consumer_hangs(engine: Engine) -> None:
    """The store stands from 0.5 s on; both consumers leave at about 0.6 s, and nobody is there until it goes on."""
    scenario = group(max_poll_interval_s=0.1)
    trace = play(scenario, engine, *SLOW[:2])
    started = hop_times(scenario, trace, "started")
    assert not ((started > 0.55) & (started < 1.0)).any()
    assert np.isfinite(started).all()
    assert (trace.attempts == 2).any()


@ENGINES
def test_a_static_member_that_polls_again_in_time_keeps_its_partitions(engine: Engine) -> None:
    """It tells nobody: nobody else gets its partitions within its session, and it takes its poll again itself."""
    once = [Change(0.5, "pause", "store"), Change(0.8, "resume", "store")]
    scenario = group(max_poll_interval_s=0.1, rebalance="static", session_timeout_s=10.0)
    trace = play(scenario, engine, *once)
    again = trace.attempts > 1
    assert again.any()
    # Each partition's polls stay its owner's: no frame of one owner shares a poll with one of the other.
    for poll in np.unique(trace.poll):
        assert len(set(trace.partition[trace.poll == poll] % 2)) == 1


@ENGINES
def test_a_consumer_that_was_stopped_finds_out_when_it_goes_on(engine: Engine) -> None:
    """It stops in a poll for longer than the interval, but not than its session: it leaves as soon as it goes on."""
    scenario = group(max_poll_interval_s=0.1, process={"job_s": 0.03})
    changes = [Change(0.515, "pause", "group-1"), Change(0.815, "resume", "group-1")]
    trace = play(scenario, engine, *changes)
    assert (trace.attempts == 2).any()
    short = play(scenario, engine, changes[0], Change(0.535, "resume", "group-1"))
    assert (short.attempts == 1).all()


@ENGINES
def test_a_consumer_that_is_late_may_be_stopped_or_killed_as_any_other(engine: Engine) -> None:
    scenario = group(max_poll_interval_s=0.1, replicas=2, max_replicas=2)
    for operation in ("stop", "kill"):
        changes = [*SLOW[:2], Change(0.7, operation, "group-1"), Change(1.5, "start", "group-1")]
        trace = play(scenario, engine, *sorted(changes, key=lambda change: change.at_s))
        assert np.isfinite(hop_times(scenario, trace, "stored")).all()
        assert set(trace.outcome) <= {OK, DUPLICATE}


@ENGINES
def test_a_consumer_that_is_back_gives_nothing_up_for_a_rebalance_that_it_has_missed(engine: Engine) -> None:
    """Both leave at 0.6 s and are back at 0.75 s; the second one was to hear of the first one's leave by its next heartbeat."""
    scenario = group(max_poll_interval_s=0.1, rebalance="eager", heartbeat_s=0.8, session_timeout_s=3.0)
    trace = play(scenario, engine, Change(0.5, "pause", "store"), Change(0.75, "resume", "store"))
    started = hop_times(scenario, trace, "started")
    assert np.isfinite(started).all()
    assert (np.diff(np.sort(started)) < 0.9).all()  # nobody waits for longer than a heartbeat


@ENGINES
def test_a_static_member_whose_session_is_over_comes_back_all_the_same(engine: Engine) -> None:
    """It hangs from 0.5 to 1.5 s; its session is over at about 0.8 s, its poll goes on, and then it joins as a new one."""
    scenario = group(max_poll_interval_s=0.1, rebalance="static", session_timeout_s=0.2, replicas=1)
    trace = play(scenario, engine, Change(0.5, "pause", "store"), Change(1.5, "resume", "store"))
    assert np.isfinite(hop_times(scenario, trace, "stored")).all()
    assert (trace.outcome == DUPLICATE).any()


@ENGINES
def test_a_static_member_gives_up_after_its_poll_what_is_anothers_by_then(engine: Engine) -> None:
    """While it hangs a second one joins: from then on nobody polls the partitions of both."""
    scenario = group(max_poll_interval_s=0.1, rebalance="static", session_timeout_s=10.0, replicas=1, max_replicas=2)
    changes = [Change(0.5, "pause", "store"), Change(0.65, "start", "group-2"), Change(1.0, "resume", "store")]
    trace = play(scenario, engine, *changes, Change(1.1, "demand", "store", 10.0), seconds=2.0)
    started = hop_times(scenario, trace, "started")
    assert (trace.attempts > 1).any()
    owners = [set(trace.partition[trace.poll == poll]) for poll in np.unique(trace.poll[started > 1.2])]
    assert max(len(partitions) for partitions in owners) == 2  # of four


@ENGINES
def test_a_late_poll_is_put_back_once(engine: Engine) -> None:
    """Its consumer has left at 0.61 s when it is killed: what it was at is tried twice in all."""
    scenario = group(max_poll_interval_s=0.1, replicas=1, idempotent=True)
    changes = [Change(0.5, "pause", "store"), Change(0.65, "kill", "group-1"), Change(0.8, "resume", "store")]
    trace = play(scenario, engine, *changes, Change(0.9, "start", "group-1"))
    assert (trace.attempts > 1).sum() == 1
    assert trace.attempts.max() == 2
    assert np.isfinite(hop_times(scenario, trace, "stored")).all()

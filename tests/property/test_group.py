"""The consumer group: its lag, who owns which partition, and what happens to a poll that fails; both engines alike."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentra_sim.engine import Change, Trace, prepare, run
from sentra_sim.engine.run import start
from sentra_sim.engine.trace import DUPLICATE, OK, OPEN
from sentra_sim.errors import InputError
from sentra_sim.scenario import Scenario, parse_scenario, scenario_data
from tests.pipelines import bare, hop_times
from tests.property.test_engines_equal import play_both, scenarios
from tests.property.vary_group import groups, happenings


@pytest.mark.parametrize("engine", ["compiled", "reference"])
def test_the_lag_is_what_the_log_has_and_no_poll_has_taken(engine) -> None:
    """Worker calls that take twice the time that the load leaves them: the lag grows, as the hops say, and is worked off."""
    scenario = bare({"load.rate_eps": 100.0, "stations.group.max_poll_events": 1, "stations.group.process.job_s": 0.02})
    plan = prepare(scenario, seconds=2.0, seed=1)
    trace = run(plan)
    acked, started = hop_times(scenario, trace, "acked"), hop_times(scenario, trace, "started")
    simulation = start(plan, engine=engine)
    seen = []
    for at_s in (0.503, 1.003, 1.503, 10.0):
        simulation.advance(at_s)
        seen.append(simulation.lag_events)
        assert seen[-1] == int((acked < at_s).sum() - (started < at_s).sum())
    assert seen[0] < seen[1] < seen[2]
    assert seen[3] == 0


def group(*, rate_eps: float = 4800.0, **keys: Any) -> Scenario:
    """Six partitions, two consumers of eight, polls of 1 ms; heartbeats every 100 ms, a session of 500 ms."""
    timing = {"heartbeat_s": 0.1, "session_timeout_s": 0.5, "join_s": 0.05, "ready_s": 0.05}
    return bare(
        {
            "load.rate_eps": rate_eps,
            "load.key_skew": 0.0,
            "load.keys": 10_000,
            "stations.log.partitions": 6,
            "stations.batcher.max_events": 4,
            "stations.group": {"kind": "consumer_group", "host": "ample", "replicas": 2, "max_replicas": 8}
            | {"calls": ["store"], "max_poll_events": 8, "process": {"job_s": 0.001}}
            | timing
            | keys,
            "stations.store": {"kind": "store", "host": "ample", "hop": "stored"},
        }
    )


def standstill(scenario: Scenario, trace: Trace) -> np.ndarray:
    """Returns the longest time without a frame that started, by partition, s."""
    started = hop_times(scenario, trace, "started")
    return np.array([np.diff(np.sort(started[trace.partition == number])).max() for number in range(6)])


def play(scenario: Scenario, *changes: Change, seconds: float = 2.0) -> Trace:
    trace = play_both(scenario, seconds=seconds, seed=4, changes=changes)
    assert (trace.outcome != OPEN).all(), "every frame came to an end"
    return trace


def test_an_eager_rebalance_stops_every_partition_a_cooperative_one_those_that_move() -> None:
    grow = Change(1.0, "replicas", "group", 3)
    eager, cooperative = group(rebalance="eager"), group(rebalance="cooperative")
    stopped = standstill(eager, play(eager, grow)) > 0.04
    moved = standstill(cooperative, play(cooperative, grow)) > 0.04
    assert stopped.all()
    assert moved.tolist() == [
        False,
        False,
        False,
        False,
        True,
        True,
    ]  # the third consumer gets one of each of the others


def test_a_killed_consumer_is_missed_when_its_session_is_over() -> None:
    for rebalance in ("eager", "cooperative", "static"):
        scenario = group(rebalance=rebalance)
        pause = standstill(scenario, play(scenario, Change(1.0, "kill", "group-2")))[1::2]
        assert (pause > 0.5 - 0.1).all(), rebalance
        assert (pause < 0.5 + 0.1 + 0.05 + 0.05).all(), rebalance


def test_a_consumer_that_leaves_in_order_hands_over_at_once_unless_it_is_a_static_member() -> None:
    pause = {}
    for rebalance in ("eager", "cooperative", "static"):
        scenario = group(rebalance=rebalance)
        trace = play(scenario, Change(1.0, "stop", "group-2"))
        assert (trace.attempts == 1).all()
        pause[rebalance] = standstill(scenario, trace)[1::2].max()
    assert pause["cooperative"] < 0.19
    assert pause["eager"] < 0.19
    assert pause["static"] > 0.4


def test_a_static_member_that_is_back_in_time_takes_its_own_partitions_again() -> None:
    restart = (Change(1.0, "kill", "group-2"), Change(1.1, "start", "group-2"))
    static, cooperative = group(rebalance="static"), group(rebalance="cooperative")
    pause = standstill(static, play(static, *restart))
    assert pause[1::2] == pytest.approx(0.1 + 0.05 + 0.05, abs=0.015)  # down, its process starts, it joins
    assert (pause[::2] < 0.04).all()
    assert (
        standstill(cooperative, play(cooperative, *restart))[1::2] > 0.4
    ).all()  # a new member: the old one is waited for


def test_the_poll_of_a_killed_consumer_takes_effect_again_unless_the_group_is_idempotent() -> None:
    """The kill finds the consumers finishing a poll that is in the store, and not committed."""
    changes = [Change(1.0 + 0.01 * step, "kill", f"group-{step + 1}") for step in range(2)]
    changes += [Change(1.1, "start", "group-1"), Change(1.1, "start", "group-2")]
    finish = {"rate_eps": 1200.0, "finish": {"job_s": 0.02}, "max_poll_events": 40, "rebalance": "static"}
    trace = play(group(**finish), *changes)
    again = trace.attempts == 2
    assert again.any()
    assert (trace.outcome[again] == DUPLICATE).all()
    assert (trace.outcome[~again] == OK).all()
    guarded = play(group(idempotent=True, dedupe={"event_s": 1e-3}, **finish), *changes)
    assert (guarded.attempts == trace.attempts).all()
    assert (guarded.outcome == OK).all()
    refused = guarded.hops_s[again, -1] < 1.02
    assert refused.all()  # their first effect is the one that counts


def test_what_an_idempotent_group_refuses_costs_its_dedupe() -> None:
    changes = [Change(1.0, "kill", "group-1"), Change(1.1, "start", "group-1")]
    finish = {
        "rate_eps": 1200.0,
        "finish": {"job_s": 0.02},
        "max_poll_events": 4,
        "rebalance": "static",
        "idempotent": True,
    }  # a frame a poll
    free, dear = group(**finish), group(dedupe={"event_s": 1e-3}, **finish)
    one, other = (play(scenario, *changes, seconds=1.2) for scenario in (free, dear))
    assert other.cpu_s.sum() - one.cpu_s.sum() == pytest.approx(1e-3 * other.events[other.attempts == 2].sum())
    assert (other.attempts == 2).sum() == 1


def test_more_consumers_clear_a_backlog_and_none_leaves_it() -> None:
    slow = group(process={"event_s": 5e-4}, max_poll_events=40)  # 4,000 events/s for two consumers, 4,800 come
    plan = prepare(slow, seconds=4.0, seed=4)

    def lag(*changes: Change) -> int:
        simulation = start(plan)
        for change in changes:
            simulation.advance(change.at_s)
            simulation.apply(change)
        simulation.advance(4.0)
        return simulation.lag_events

    assert lag(Change(1.0, "replicas", "group", 3)) < 100 < lag() < lag(Change(1.0, "replicas", "group", 0))


def test_consumers_beyond_the_partitions_are_idle() -> None:
    scenario = group()
    trace = play(scenario, Change(0.5, "replicas", "group", 8))
    assert np.isfinite(hop_times(scenario, trace, "stored")).all()


def test_a_change_of_what_is_not_there_says_what_is() -> None:
    with pytest.raises(InputError, match=r"must be of a consumer, one of group-1, .*, got 'group-9'; for more"):
        play(group(), Change(0.1, "stop", "group-9"))
    with pytest.raises(
        InputError, match=r"must be of a broker, a consumer or .*, got 'group-9'; valid names: .*group-8"
    ):
        play(group(), Change(0.1, "kill", "group-9"))
    with pytest.raises(InputError, match="must be a whole number from 0 to 8, got 9"):
        play(group(), Change(0.1, "replicas", "group", 9))
    with pytest.raises(InputError, match="must be of the consumer group, got 'store'; write 'group'"):
        play(group(), Change(0.1, "replicas", "store", 1))


@settings(max_examples=60, deadline=None)
@given(scenario=scenarios(), keys=groups, changes=happenings, seed=st.integers(0, 2**32 - 1))
def test_whatever_happens_to_a_group_is_the_same_in_both_engines(
    scenario: Scenario, keys: dict[str, Any], changes: list[Any], seed: int
) -> None:
    data = scenario_data(scenario)
    data["stations"]["group"] |= keys
    timetable = [Change(at_s, *change) for at_s, change in changes]
    trace = play_both(parse_scenario(data), seconds=0.3, seed=seed, changes=timetable)
    assert (trace.attempts >= 1).all()

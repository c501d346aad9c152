"""Backpressure from the consumer group to the batcher: what it bounds, what it costs, when it begins and ends; both engines alike."""

from typing import Any

import numpy as np
import pytest

from sentra_sim.engine import Change, Trace, prepare, simulate
from sentra_sim.engine.run import start
from sentra_sim.engine.tallies import tally_names
from sentra_sim.engine.trace import EVENT_SHED, OK
from sentra_sim.errors import ScenarioError
from sentra_sim.scenario import Scenario
from tests.pipelines import bare, event_times, hop_times
from tests.property.test_engines_equal import play_both

MARKS = {"high_events": 40, "low_events": 10, "poll_s": 0.1}
SECONDS = 10.0


def overloaded(pressure: dict[str, Any] | None, **changes: Any) -> Scenario:
    """A consumer that takes 100 events/s, of which 200 come, and the rules of the batcher."""
    rules = {"stations.batcher.admission": {"max_in_flight_events": 60, "backpressure": pressure}} if pressure else {}
    slow = {"stations.group.host": "box", "stations.group.process": {"event_s": 0.01}}
    return bare({"load.rate_eps": 200.0, "stations.group.max_poll_events": 5} | slow | rules | changes)


def play(scenario: Scenario) -> Trace:
    return play_both(scenario, seconds=SECONDS, seed=1)


def counted(scenario: Scenario, trace: Trace) -> dict[str, float]:
    return dict(zip(tally_names(scenario), trace.tallies.tolist(), strict=True))


def lags(scenario: Scenario) -> np.ndarray:
    """Returns the lag while the load lasts, each 10 ms, a moment before the batcher looks at it."""
    simulation, found = start(prepare(scenario, seconds=SECONDS, seed=1)), []
    for step in range(1, 1000):
        simulation.advance(0.01 * step - 1e-4)
        found.append(simulation.lag_events)
    return np.array(found)


def test_overload_is_refused_at_the_door_and_neither_lag_nor_staleness_grows() -> None:
    """Without backpressure half of what comes waits in the log at the end; with it the lag goes up and down between its marks."""
    unbounded, bounded = overloaded(None), overloaded(MARKS)
    plain, trace = play(unbounded), play(bounded)
    assert lags(unbounded).max() == pytest.approx(100 * SECONDS, rel=0.02)
    seen = lags(bounded)
    assert seen.max() <= 40 + 0.1 * 100 + 5  # the mark, what comes until it is seen, and a poll that has just begun
    assert seen[100:].min() >= 0
    assert np.quantile(seen[100:], 0.1) < 15
    stale = [hop_times(bounded, each, "started") - hop_times(bounded, each, "acked") for each in (plain, trace)]
    assert stale[0].max() == pytest.approx(SECONDS, rel=0.05)
    assert stale[1].max() < 0.7
    assert (trace.outcome == OK).all()
    shed = (trace.frame == EVENT_SHED).sum()
    assert shed == counted(bounded, trace)["batcher.backpressure_shed"]
    assert shed == pytest.approx(100 * SECONDS, rel=0.1)
    # The consumer is no less busy for it: what is refused is what it could not have worked on.
    assert len(trace.events) == pytest.approx(100 * SECONDS, rel=0.1)


def test_refusals_begin_above_the_high_mark_and_end_at_the_low_one() -> None:
    """Each stretch of refusals begins after the lag was above 40 and ends at the first look that finds it at 10 or less."""
    scenario = overloaded(MARKS)
    trace = play(scenario)
    intended = prepare(scenario, seconds=SECONDS, seed=1).offered.intended_s
    refused = trace.frame == EVENT_SHED
    edges = np.flatnonzero(np.diff(refused.astype(int)))
    begins, ends = edges[~refused[edges]], edges[refused[edges]]
    lag_at = lags(scenario)
    looks_s = [np.floor(intended[at + 1] / 0.1 + 1e-6) * 0.1 for at in (begins, ends)]
    over, under = (lag_at[np.rint(look_s / 0.01).astype(int) - 1] for look_s in looks_s)
    assert len(begins) == counted(scenario, trace)["batcher.backpressure_periods"] > 5
    assert (over > 40).all()
    assert (under <= 10).all()
    held_s = refused.sum() / 200.0
    assert counted(scenario, trace)["batcher.backpressure_s"] == pytest.approx(held_s, abs=0.1)


def test_a_narrow_band_flaps_and_a_rare_look_overshoots() -> None:
    periods = {}
    for low in (10, 40):
        scenario = overloaded(MARKS | {"low_events": low})
        periods[low] = counted(scenario, play(scenario))["batcher.backpressure_periods"]
    assert periods[40] > 2 * periods[10]
    most = [lags(overloaded(MARKS | {"poll_s": poll_s})).max() for poll_s in (0.05, 0.5, 2.0)]
    assert most[0] < 50
    assert most[0] < most[1] < most[2]
    assert most[2] > 150


def test_clients_send_what_was_refused_again_until_it_is_taken() -> None:
    """A burst of 400 events/s for half a second: those that try again with patience lose nothing of it."""
    burst = {"load.rate_eps": 60.0, "load.shape": [{"kind": "burst", "on": 8.0, "off": 0.5, "on_s": 0.5, "off_s": 4.5}]}
    patient = {"timeout_s": 5.0, "retries": 9, "backoff": {"mean_s": 0.5}}
    once = play(overloaded(MARKS, **burst))
    trace = play(overloaded(MARKS, **burst, **{"stations.source.retry": patient}))
    assert (once.frame == EVENT_SHED).any()
    assert (trace.frame >= 0).all()
    assert trace.sends.max() > 1
    assert trace.repeats.sum() == 0


def test_held_acknowledgements_fill_the_room_in_flight_and_keep_the_clients_waiting() -> None:
    scenario = overloaded(MARKS | {"hold_acks": True})
    trace = play(scenario)
    numbers = counted(scenario, trace)
    assert numbers["batcher.backpressure_shed"] == 0
    assert numbers["batcher.backpressure_periods"] > 5
    assert lags(scenario).max() <= 40 + 0.1 * 100 + 5 + 60  # and what was in flight
    assert (trace.frame == EVENT_SHED).sum() == pytest.approx(100 * SECONDS, rel=0.15)  # for want of room
    # A client that gives an acknowledgement 100 ms sends again what is in the log already.
    impatient = {"stations.source.retry": {"timeout_s": 0.1, "retries": 1}, "load.rate_eps": 120.0}
    wide = {"stations.batcher.admission": {"max_in_flight_events": 10_000, "backpressure": MARKS | {"hold_acks": True}}}
    assert play(overloaded(MARKS, **impatient)).repeats.sum() == 0
    assert play(overloaded(None, **impatient, **wide)).repeats.sum() > 50


def test_marks_that_are_never_reached_change_nothing_and_counters_add_up() -> None:
    never = overloaded({"high_events": 1_000_000, "low_events": 0})
    np.testing.assert_array_equal(play(never).hops_s, play(overloaded(None)).hops_s)
    scenario = overloaded(MARKS)
    _, manifest = simulate(scenario, seconds=SECONDS, warmup_s=0.0, seed=1)
    counters = manifest.counters
    assert counters["offered"] == counters["delivered"] + counters["shed"] + counters["lost"]
    assert counters["lost"] == 0
    assert counters["batcher.backpressure_shed"] == counters["shed"] > 0


def test_backpressure_holds_off_a_producer_while_the_consumers_are_away() -> None:
    """The group is gone for a second: the lag stays at what was taken before the batcher saw it, and falls after."""
    scenario = overloaded(MARKS, **{"load.rate_eps": 80.0, "stations.group.ready_s": 0.1})
    gone = [Change(3.0, "stop", "group-1"), Change(4.0, "start", "group-1")]
    trace = play_both(scenario, seconds=SECONDS, seed=1, changes=gone)
    acked = event_times(scenario, trace, "acked")
    assert (acked < 3.0).sum() == pytest.approx(240, abs=3)
    assert ((acked > 3.0) & (acked < 4.0)).sum() < 60
    assert (trace.outcome == OK).all()


MISTAKES = {
    "crossed marks": ({"high_events": 5, "low_events": 6}, "must have low_events no higher than high_events (5)"),
    "nothing to fill": (
        {"high_events": 5, "low_events": 1, "hold_acks": True},
        "must have max_in_flight_events with hold",
    ),
}


@pytest.mark.parametrize(("pressure", "message"), MISTAKES.values(), ids=MISTAKES)
def test_backpressure_that_makes_no_sense_is_refused(pressure: dict[str, Any], message: str) -> None:
    with pytest.raises(ScenarioError, match="must have") as caught:
        bare({"stations.batcher.admission": {"backpressure": pressure}})
    assert message in str(caught.value)

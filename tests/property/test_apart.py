"""Stations that are played apart from all others: the same run as if they were not, to the last bit."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentra_sim.engine import Change, prepare, start
from sentra_sim.engine.apart import stations_apart
from sentra_sim.scenario import Scenario
from tests.pipelines import bare
from tests.property.test_engines_equal import assert_equal, play_both

LAST = {"kind": "pool", "host": "two", "threads": 2, "hop": "left"}
NOISES: list[dict[str, Any]] = [
    {"dist": "exponential"},
    {"dist": "constant"},
    {"dist": "lognormal", "cv": 2.0},
    {"dist": "quantiles", "quantiles": [0.0, 1.0, 2.0]},
]


@st.composite
def trees(draw: st.DrawFn) -> Scenario:
    """Draws pools and stores behind a pool that is called, each on a host of its own, which most have to themselves."""
    count = draw(st.integers(1, 6))
    changes: dict[str, Any] = {
        "load": {"rate_eps": draw(st.sampled_from([50.0, 400.0])), "tick_s": draw(st.sampled_from([0.0, 0.01]))}
        | {"keys": 50, "arrivals": draw(st.sampled_from(["constant", "poisson"]))},
        "stations.batcher.max_events": draw(st.integers(1, 5)),
        "stations.log.partitions": 3,
        "stations.group.calls": ["door"],
        "stations.group.max_poll_events": draw(st.integers(1, 20)),
        "stations.group.max_poll_interval_s": draw(st.sampled_from([0.0, 0.0, 0.0, 0.003])),
        "stations.door": {"kind": "pool", "host": "ample", "hop": "entered", "to": ["station-1"]}
        | {"demand": {"event_s": draw(st.sampled_from([0.0, 1e-3]))}},
    }
    for number in range(1, count + 1):
        threads = draw(st.integers(1, 4))
        changes[f"hosts.host-{number}"] = {
            "cores": threads + draw(st.sampled_from([0, 0, 2, -1])) or 1,
            "slice_s": draw(st.sampled_from([1e-3, 3e-3, 1.0])),
            "speed": draw(st.sampled_from([1.0, 1.7])),
        }
        changes[f"stations.station-{number}"] = {
            "kind": draw(st.sampled_from(["pool", "store"])),
            "host": draw(st.sampled_from([f"host-{number}"] * 5 + ["host-1"])),
            "threads": threads,
            "demand": {"job_s": draw(st.sampled_from([0.0, 2e-3, 5e-3])), "event_s": 1e-3}
            | {"frame_s": 2e-4, "noise": draw(st.sampled_from(NOISES))},
            "delay": {"mean_s": draw(st.sampled_from([0.0] * 5 + [1e-3]))},
            "hop": f"hop_{number}",
            "to": [],
        }
        if number > 1:
            before = draw(st.integers(1, number - 1))
            changes[f"stations.station-{before}"]["to"].append(f"station-{number}")
    return bare(changes)


@given(scenario=trees(), seconds=st.floats(0.05, 1.5), seed=st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_any_tree_of_stations_is_the_same_in_both_engines(scenario: Scenario, seconds: float, seed: int) -> None:
    trace = play_both(scenario, seconds=seconds, seed=seed)
    assert_equal(start(prepare(scenario, seconds=seconds, seed=seed)).trace(), trace)


@given(scenario=trees(), looks=st.lists(st.floats(0.0, 1.2), max_size=4), seed=st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_whoever_looks_sees_the_same(scenario: Scenario, looks: list[float], seed: int) -> None:
    plan = prepare(scenario, seconds=1.0, seed=seed)
    apart, together = start(plan, unchanged=True), start(plan)
    for at_s in sorted(looks):
        views = []
        for simulation in (apart, together):
            simulation.advance(at_s)
            view = simulation.view()
            views.append((view.rows(np.arange(view.frames)).hops_s, view.cpu_s.copy()))
        np.testing.assert_array_equal(views[0][0], views[1][0])
        done = int(at_s)  # a job's CPU is booked when it ends, or a slice of it: whole seconds are complete
        np.testing.assert_array_equal(views[0][1][:, :done], views[1][1][:, :done])
    assert_equal(apart.trace(), together.trace())


def row(**last: Any) -> Scenario:
    return row_with({"stations.last": LAST | last})


def row_with(more: dict[str, Any]) -> Scenario:
    changes: dict[str, Any] = {
        "hosts": {"ample": {"cores": 64}, "one": {"cores": 2}, "two": {"cores": 2}},
        "stations.group.calls": ["door"],
        "stations.door": {"kind": "pool", "host": "ample", "hop": "entered", "to": ["first"]},
        "stations.first": {"kind": "pool", "host": "one", "threads": 2, "hop": "came", "to": ["last"]},
        "stations.last": LAST,
    }
    return bare(changes | more)


@pytest.mark.parametrize(
    "last",
    [
        {"host": "one"},
        {"threads": 3},
        {"delay": {"mean_s": 0.1}},
        {"demand": {"cold_s": 0.1}},
        {"recovery": {}},
        {"pauses": [{"gap": {"mean_s": 1.0}, "length": {"mean_s": 0.1}}]},
        {"background": [{"every_s": 1.0, "demand": {"job_s": 0.1}}]},
        {"cpu_limit_cores": 1.0},
        {"warmup": {"factor": 1.0, "cpu_s": 1.0}},
    ],
    ids=lambda last: next(iter(last)),
)
def test_a_station_that_others_may_touch_is_played_with_them_and_so_is_what_leads_to_it(last: dict[str, Any]) -> None:
    assert stations_apart(row()) == {"first": "door", "last": "first"}
    assert stations_apart(row(**last)) == {}


def test_where_a_poll_may_be_taken_twice_no_station_is_played_apart() -> None:
    late = {"kind": "consumer_group", "host": "ample", "calls": ["door"], "max_poll_interval_s": 5.0}
    assert stations_apart(row()) != {}
    assert stations_apart(row_with({"stations.group": late})) == {}


def test_a_simulation_that_is_not_to_be_changed_refuses_changes() -> None:
    simulation = start(prepare(row(), seconds=1.0, seed=1), unchanged=True)
    with pytest.raises(ValueError, match="must not be called"):
        simulation.apply(Change(0.0, "demand", "first", 2.0))

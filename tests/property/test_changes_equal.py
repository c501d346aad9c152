"""Whatever happens to a pipeline, in all its parts at once, is the same in both engines, and the books are kept."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sentra_sim.engine import Change, Trace
from sentra_sim.engine.trace import EVENT_SHED, OPEN
from sentra_sim.scenario import Pool, Scenario
from tests.property.test_engines_equal import _check_conservation, play_both, scenarios
from tests.property.vary_group import happenings
from tests.property.vary_hosts import host_changes
from tests.property.vary_lifecycle import life_changes
from tests.property.vary_log import broker_changes
from tests.property.vary_stores import store_changes


@st.composite
def all_changes(draw: st.DrawFn, scenario: Scenario) -> list[Change]:
    """Draws changes of brokers, consumers, releases, failures, demands, stores, processes and hosts."""
    of_group = [
        Change(at_s, operation, subject, value)
        for at_s, (operation, subject, value) in draw(happenings)
        if operation == "replicas" or int(subject[-1]) <= scenario.stations["group"].most_replicas
        if operation != "replicas" or value <= scenario.stations["group"].most_replicas
    ]
    found = [*of_group, *draw(broker_changes(scenario)), *draw(host_changes(scenario)), *draw(store_changes(scenario))]
    times_s = st.sampled_from([0.05, 0.1, 0.15, 0.2])
    if scenario.stations["group"].poison_share is not None:  # type: ignore[union-attr]
        spoils = st.builds(Change, times_s, st.just("poison"), st.just("group"), st.sampled_from([0.0, 0.2, 1.0]))
        found += draw(st.lists(spoils, max_size=2))
    for name, station in scenario.stations.items():
        if isinstance(station, Pool) and station.releases:
            subjects = st.sampled_from([f"{name}/{release}" for release in station.releases])
            weights = st.builds(Change, times_s, st.just("weight"), subjects, st.sampled_from([0.0, 0.3, 1.0]))
            anew = st.builds(Change, times_s, st.just("start"), subjects, st.just(0.0))
            found += draw(st.lists(weights | anew, max_size=2))
        if getattr(station, "failure", None) is not None:
            shares = st.builds(Change, times_s, st.just("failure"), st.just(name), st.sampled_from([0.0, 0.5, 1.0]))
            found += draw(st.lists(shares, max_size=2))
    factors = st.sampled_from([0.0, 0.5, 3.0])
    demands = st.builds(Change, times_s, st.just("demand"), st.sampled_from(list(scenario.stations)), factors)
    found += draw(life_changes(scenario))
    return found + draw(st.lists(demands, max_size=2))


@settings(max_examples=100, deadline=None)
@given(data=st.data(), scenario=scenarios(), seed=st.integers(0, 2**32 - 1))
def test_whatever_happens_at_once_is_the_same_in_both_engines(data: Any, scenario: Scenario, seed: int) -> None:
    trace = play_both(scenario, seconds=0.3, seed=seed, changes=data.draw(all_changes(scenario)))
    _check_conservation(trace)
    _check_books(trace)


def _check_books(trace: Trace) -> None:
    """Every offered event was refused, is in one frame, or came too late for any; every frame ended in one way or is under way."""
    refused, taken = (trace.frame == EVENT_SHED).sum(), (trace.frame >= 0).sum()
    assert refused + taken + (trace.frame == -1).sum() == len(trace.frame)
    assert trace.events.sum() == taken
    assert (trace.outcome >= OPEN).all()
    assert (trace.attempts >= 1).all()
    assert (trace.cpu_s >= 0.0).all()
    assert np.isfinite(trace.tallies).all()
    assert (trace.dead <= trace.events).all()
    if len(trace.poison):
        bad = np.bincount(trace.frame[trace.poison & (trace.frame >= 0)], minlength=len(trace.events))
        assert ((trace.dead == 0) | (trace.dead == bad)).all()

"""Lanes in a pipeline whose consumers cannot keep up, so that the order of service matters; whatever happens, both engines alike."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sentra_sim.engine import Change
from sentra_sim.scenario import Scenario
from tests.pipelines import bare
from tests.property.test_changes_equal import _check_books
from tests.property.test_engines_equal import _check_conservation, play_both
from tests.property.vary_fetches import retaining, waiting
from tests.property.vary_group import groups, happenings
from tests.property.vary_lanes import give_lanes
from tests.property.vary_log import broker_changes


@st.composite
def crowded(draw: st.DrawFn) -> Scenario:
    """Draws a group that can do a fifth to all of what is offered, in polls of a few frames."""
    stations: dict[str, Any] = {
        "source": {"kind": "source", "host": "ample", "to": "batcher"},
        "batcher": {"kind": "batcher", "host": "ample", "to": "log"}
        | {"max_events": draw(st.integers(1, 5)), "linger_s": draw(st.sampled_from([0.0, 0.004]))},
        "log": {"kind": "log", "host": "ample", "to": "group", "in_flight": 5, "fetch": {"mean_s": 1e-4}}
        | {"session_timeout_s": 0.03, "preferred_election_s": 0.05},
        "group": {"kind": "consumer_group", "host": "box", "calls": ["store"]}
        | {"heartbeat_s": 0.02, "session_timeout_s": 0.05, "join_s": 0.01, "ready_s": 0.01, "max_replicas": 3}
        | {"max_poll_events": draw(st.integers(1, 12)), "replicas": draw(st.integers(1, 3))}
        | {"process": {"event_s": draw(st.sampled_from([1e-3, 5e-3])), "job_s": draw(st.sampled_from([0.0, 1e-3]))}},
        "store": {"kind": "store", "host": "ample", "hop": "stored", "delay": {"mean_s": 1e-3}},
    }
    stations["group"] |= {"rebalance": draw(st.sampled_from(["eager", "cooperative", "static"]))}
    for station, keys in (("group", groups), ("group", waiting), ("log", retaining)):
        if draw(st.booleans()):
            stations[station] |= draw(keys)
    changes = {
        "load": {"rate_eps": 1000.0, "arrivals": "poisson", "tick_s": 0.0, "keys": 100, "tenants": 4}
        | {"tenant_weights": draw(st.permutations([1.0, 1.0, 2.0, 6.0]))},
        "stations": stations,
        "hosts.box.cores": 3,
    }
    give_lanes(draw, changes)
    return bare(changes)


CRASHES: st.SearchStrategy[list[Change]] = st.sampled_from(
    [[Change(at_s, "kill", "group-1"), Change(at_s + 0.1, "start", "group-1")] for at_s in (0.05, 0.1003, 0.2)] + [[]]
)


@settings(max_examples=80, deadline=None)
@given(data=st.data(), scenario=crowded(), seed=st.integers(0, 2**32 - 1))
def test_lanes_are_served_in_the_same_order_in_both_engines(data: Any, scenario: Scenario, seed: int) -> None:
    most = scenario.stations["group"].most_replicas  # type: ignore[union-attr]
    of_group = [
        Change(at_s, operation, subject, value)
        for at_s, (operation, subject, value) in data.draw(happenings)
        if (value if operation == "replicas" else int(subject[-1])) <= most
    ]
    of_log = data.draw(st.just([]) | broker_changes(scenario))
    trace = play_both(scenario, seconds=0.3, seed=seed, changes=[*of_group, *data.draw(CRASHES), *of_log])
    _check_conservation(trace)
    _check_books(trace)

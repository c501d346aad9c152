"""Random stores for the tests that hold the engines equal."""

from typing import Any

from hypothesis import strategies as st

from sentra_sim.engine import Change
from sentra_sim.scenario import Broadcast, Scenario, Store

every_s = st.sampled_from([0.02, 0.05, 0.1])


def vary_stores(
    draw: st.DrawFn, stations: dict[str, Any], demands: st.SearchStrategy, delays: st.SearchStrategy
) -> None:
    """Gives some of the stores what stores can have."""
    for station in stations.values():
        if station["kind"] == "store" and station["flush_s"] == 0.0 and draw(st.booleans()):
            station.update(draw(_transactional(demands, delays)))
        elif station["kind"] == "store" and station["flush_s"] > 0.0 and draw(st.booleans()):
            station.update(draw(_columnar(demands)))
        elif station["kind"] == "broadcast" and draw(st.booleans()):
            station["subscribers"] = draw(_subscribers(demands, delays))
            station["recovery"] = {"restart_s": draw(st.sampled_from([0.0, 0.01]))}
        elif station["kind"] == "pool" and "releases" not in station and draw(st.booleans()):
            station["recovery"] = {"restart_s": draw(st.sampled_from([0.0, 0.01]))}


def _transactional(demands: st.SearchStrategy, delays: st.SearchStrategy) -> st.SearchStrategy:
    checkpoint = st.fixed_dictionaries(
        {
            "every_s": every_s,
            "every_events": st.sampled_from([0, 0, 20]),
            "seconds": st.sampled_from([0.0, 0.01, 0.1]),
            "slowdown": st.floats(1.0, 9.0),
            "pages": st.integers(0, 50),
            "page_s": st.sampled_from([0.0, 1e-4]),
        }
    )
    relay = st.fixed_dictionaries(
        {
            "poll_s": st.sampled_from([0.001, 0.01, 0.05]),
            "batch_events": st.integers(1, 30),
            "notify": st.booleans(),
            "demand": demands,
        }
    )
    blocking = st.fixed_dictionaries({"every_s": every_s, "demand": demands, "child": demands})
    return st.fixed_dictionaries(
        {},
        optional={
            "connections": st.integers(1, 3),
            "fsync": delays,
            "commit_delay_s": st.sampled_from([0.0, 1e-3]),
            "commit_siblings": st.integers(0, 2),
            "checkpoint": checkpoint,
            "relay": relay,
            "blocking": st.lists(blocking, max_size=2),
            "recovery": st.fixed_dictionaries(
                {"restart_s": st.sampled_from([0.0, 0.01]), "redo_event_s": st.floats(0.0, 1e-3)}
            ),
        },
    )


def _columnar(demands: st.SearchStrategy) -> st.SearchStrategy:
    merges = st.fixed_dictionaries(
        {
            "fan_in": st.integers(2, 4),
            "threads": st.integers(1, 2),
            "demand": demands,
            "parts_to_delay": st.integers(1, 3),
            "parts_to_throw": st.integers(4, 6),
            "min_delay_s": st.sampled_from([0.0, 0.01]),
            "max_delay_s": st.sampled_from([0.0, 0.1]),
            "retry_s": st.sampled_from([0.01, 0.05]),
        }
    )
    return st.fixed_dictionaries(
        {"flush_s": st.sampled_from([0.002, 0.01])},
        optional={"merges": merges, "replicas": st.integers(1, 3), "max_replicas": st.integers(1, 3)},
    )


def _subscribers(demands: st.SearchStrategy, delays: st.SearchStrategy) -> st.SearchStrategy:
    return st.fixed_dictionaries(
        {
            "count": st.integers(1, 100),
            "groups": st.integers(1, 4),
            "deliver": demands,
            "slow_share": st.sampled_from([0.0, 0.3, 1.0]),
            "slow_read_eps": st.sampled_from([1.0, 20.0, 500.0]),
            "buffer_events": st.sampled_from([0.1, 1.0, 5.0]),
            "hold_s": st.sampled_from([0.01, 1.0]),
            "reconnect": delays,
            "reconnect_max_s": st.sampled_from([0.01, 1.0]),
            "connect": demands,
        }
    )


def store_changes(scenario: Scenario) -> st.SearchStrategy[list[Change]]:
    """Draws what may happen to the stores of a scenario on the way."""
    changes = [
        _changes(["kill", "start"], name, st.just(0.0))
        for name, station in scenario.stations.items()
        if getattr(station, "recovery", None) is not None
    ] + [
        _changes(["store-replicas"], name, st.integers(1, station.most_replicas).map(float))
        for name, station in scenario.stations.items()
        if isinstance(station, Store) and station.is_columnar
    ]
    changes += [
        _changes(["slow-clients"], name, st.sampled_from([0.0, 0.1, 0.7]))
        for name, station in scenario.stations.items()
        if isinstance(station, Broadcast) and station.subscribers
    ]
    return st.lists(st.one_of(changes), max_size=6) if changes else st.just([])


def _changes(operations: list[str], subject: str, values: st.SearchStrategy[float]) -> st.SearchStrategy[Change]:
    return st.builds(
        Change,
        at_s=st.one_of(st.floats(0.0, 0.6), st.sampled_from([0.0, 0.1])),
        operation=st.sampled_from(operations),
        subject=st.just(subject),
        value=values,
    )

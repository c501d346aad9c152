"""Random changes of processes and hosts, and random keys of theirs."""

from typing import Any

from hypothesis import strategies as st

from sentra_sim.engine import Change
from sentra_sim.scenario import Scenario, processes

_MOMENTS = st.one_of(st.floats(0.0, 0.4), st.sampled_from([0.0, 0.1, 0.2]))
_LENGTHS = st.fixed_dictionaries(
    {"mean_s": st.sampled_from([0.0, 0.001, 0.01, 0.1]), "noise": st.sampled_from([{}, {"dist": "exponential"}])}
)
_GAPS = st.fixed_dictionaries(
    {"mean_s": st.sampled_from([0.003, 0.05, 0.1]), "noise": st.sampled_from([{}, {"dist": "exponential"}])}
)
_BY_TIME = st.fixed_dictionaries({"gap": _GAPS, "length": _LENGTHS})
_BY_EVENTS = st.fixed_dictionaries({"every_events": st.integers(1, 40), "length": _LENGTHS})
_NEIGHBOURS = st.one_of(
    st.fixed_dictionaries({"threads": st.integers(1, 3), "active": st.booleans()}),
    st.fixed_dictionaries({"busy": _GAPS, "quiet": _GAPS, "active": st.booleans()}),
)

_OF_HOSTS = {
    "pauses": st.lists(_BY_TIME, max_size=2),
    "neighbour": _NEIGHBOURS,
    "network_s": st.sampled_from([0.0, 0.001]),
    "loss": st.sampled_from([0.0, 0.3]),
}


def host_changes(scenario: Scenario) -> st.SearchStrategy[list[Change]]:
    """Draws a timetable of changes; what is stopped may stay so."""
    replicas = [f"group-{number + 1}" for number in range(scenario.stations["group"].most_replicas)]  # type: ignore[union-attr]
    of_process = st.builds(
        Change,
        _MOMENTS,
        st.sampled_from(["pause", "resume", "resume", "restart"]),
        st.sampled_from([*processes(scenario), *replicas]),
    )
    of_host = st.builds(
        Change,
        _MOMENTS,
        st.sampled_from(["host-down", "host-up", "host-up", "speed", "slow", "lossy"]),
        st.sampled_from(list(scenario.hosts)),
        st.sampled_from([0.01, 0.3, 0.9]),
    )
    kinds = [of_process, of_host]
    if neighbours := [name for name, host in scenario.hosts.items() if host.neighbour]:
        switch = st.builds(
            Change, _MOMENTS, st.just("neighbour"), st.sampled_from(neighbours), st.sampled_from([0.0, 1.0, 1.0])
        )
        kinds.append(switch)
    return st.lists(st.one_of(kinds), max_size=12)


def vary(draw: st.DrawFn, data: dict[str, Any]) -> None:
    """Adds keys of hosts and processes to a scenario's data, to some of them."""
    for host in data["hosts"].values():
        host.update(draw(st.fixed_dictionaries({}, optional=_OF_HOSTS)))
        if host["slice_s"] < 1e-3:  # a neighbour's slices, until the run ends, would be all that the test plays
            host.pop("neighbour", None)
    for station in data["stations"].values():
        if draw(st.integers(0, 3)):
            continue
        station["pauses"] = draw(st.lists(st.one_of(_BY_TIME, _BY_EVENTS), max_size=2))
        station["warmup"] = draw(st.one_of(st.none(), st.just({"factor": 2.0, "cpu_s": 0.003})))
        if data["hosts"][station["host"]]["discipline"] == "fifo-slice":
            station["cpu_limit_cores"] = draw(st.sampled_from([0.0, 0.05, 0.5, 1.5]))
            station["cpu_period_s"] = draw(st.sampled_from([0.01, 0.1]))

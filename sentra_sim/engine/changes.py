"""Changes to a running simulation: what a controller or a fault does to it, at a moment between two of its events."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple, Protocol

from sentra_sim.engine.trace import Trace
from sentra_sim.errors import InputError
from sentra_sim.scenario import Broadcast, Scenario, Store

Operation = Literal["demand", "kill", "start", "store-replicas", "slow-clients"]


class Change(NamedTuple):
    """One change: when, what, of which station, broker, replica or host, and to which value.

    | operation | subject | value |
    |---|---|---|
    | `demand` | station | factor on all its CPU demands, for jobs that start from now on |
    | `kill` | pool, store or edge with `recovery` | none: its process ends, and with it the work on polls, which are brought again |
    | `start` | the same | none: it recovers, then serves again |
    | `store-replicas` | store with `flush_s` | how many replicas get polls, up to `max_replicas` |
    | `slow-clients` | edge with `subscribers` | share of its subscribers that are slow, 0 to 1 |
    """

    at_s: float
    operation: Operation
    subject: str
    value: float = 0.0


class Simulation(Protocol):
    """A run under way: both engines play it alike, event by event."""

    @property
    def now_s(self) -> float:
        """The simulated time that it has come to, s since the load's start."""
        ...

    def advance(self, to_s: float) -> None:
        """Plays all events before `to_s`; those at `to_s` itself come after what is then applied."""
        ...

    def apply(self, change: Change) -> None:
        """Makes a change now, whatever its `at_s`."""
        ...

    def trace(self) -> Trace:
        """Plays to the end and returns what happened; the simulation is over then."""
        ...


def play(simulation: Simulation, changes: Iterable[Change]) -> Trace:
    """Plays a simulation with a timetable of changes, those of one moment in their order."""
    for change in sorted(changes, key=lambda change: change.at_s):
        simulation.advance(change.at_s)
        simulation.apply(change)
    return simulation.trace()


def check_change(scenario: Scenario, change: Change) -> None:
    """Checks that a scenario has what a change is about.

    Raises:
        InputError: it has not, or the value is out of range.
    """
    if change.operation == "demand":
        if change.subject not in scenario.stations:
            names = ", ".join(scenario.stations)
            raise InputError(f"demand: must be of a station, got {change.subject!r}; valid names: {names}")
        if not change.value >= 0.0:
            raise InputError(f"demand: {change.subject}: must be a factor >= 0, got {change.value}; 1 changes nothing")
    elif change.operation in ("kill", "start"):
        _check_killable(scenario, change)
    elif change.operation == "store-replicas":
        _check_store_replicas(scenario, change)
    elif change.operation == "slow-clients":
        _check_slow_clients(scenario, change)


def _check_slow_clients(scenario: Scenario, change: Change) -> None:
    station = scenario.stations.get(change.subject)
    if not isinstance(station, Broadcast) or station.subscribers is None:
        raise InputError(
            f"slow-clients: must be of a broadcast with subscribers, got {change.subject!r}; add subscribers to one"
        )
    if not 0.0 <= change.value <= 1.0:
        raise InputError(
            f"slow-clients: {change.subject}: must be a share from 0 to 1, got {change.value}; 0.1 makes a tenth slow"
        )


def _check_store_replicas(scenario: Scenario, change: Change) -> None:
    station = scenario.stations.get(change.subject)
    most = station.most_replicas if isinstance(station, Store) and station.is_columnar else 0
    if not (1 <= change.value <= most and change.value == int(change.value)):
        raise InputError(
            f"store-replicas: {change.subject}: must be a whole number from 1 to max_replicas ({most}), got {change.value}; "
            "raise the store's max_replicas"
        )


def _check_killable(scenario: Scenario, change: Change) -> None:
    names = [name for name, station in scenario.stations.items() if getattr(station, "recovery", None) is not None]
    if change.subject not in names:
        raise InputError(
            f"{change.operation}: must be of a station with recovery, got {change.subject!r}; "
            f"{'valid names: ' + ', '.join(names) if names else 'add recovery to one'}"
        )

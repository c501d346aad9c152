"""Changes to a running simulation: what a controller or a fault does to it, at a moment between two of its events."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple, Protocol

from sentra_sim.engine.trace import Trace
from sentra_sim.errors import InputError
from sentra_sim.scenario import ConsumerGroup, Pool, Scenario, only

Operation = Literal["demand", "weight", "failure", "replicas", "kill", "start", "stop"]


class Change(NamedTuple):
    """One change: when, what, of which station, broker, replica or host, and to which value.

    | operation | subject | value |
    |---|---|---|
    | `demand` | station | factor on all its CPU demands, for jobs that start from now on |
    | `weight` | release of a pool, as `pricing/canary` | its share of the keys, from the next job on; the other releases have none |
    | `failure` | called station whose scenario sets it | share of the calls that fail |
    | `replicas` | consumer group | how many consumers run: those with the lowest numbers are started first, stopped last |
    | `kill`, `start` | consumer, as `worker-2` | ends at once, its poll not committed; starts again |
    | `start` | release of a pool, as `pricing/canary` | begins anew: its cache is cold, it has leaked nothing yet |
    | `stop` | consumer, as `worker-2` | ends in order: it finishes its poll, commits and leaves the group |
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

    @property
    def lag_events(self) -> int:
        """Events that the log has acknowledged and no poll of the group has taken yet."""
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
    elif change.operation == "weight":
        _check_weight(scenario, change)
    elif change.operation == "start" and "/" in change.subject:
        _check_release(scenario, change)
    elif change.operation == "failure":
        _check_failure(scenario, change)
    elif change.operation == "replicas":
        _check_replicas(scenario, change)
    else:
        consumer_of(scenario, change.subject)


def consumer_of(scenario: Scenario, subject: str) -> int:
    """Returns the number, from 0, of the consumer called so.

    Raises:
        InputError: there is none.
    """
    name, group = only(scenario, ConsumerGroup)
    names = [f"{name}-{number + 1}" for number in range(group.most_replicas)]
    if subject not in names:
        raise InputError(f"consumer: must be one of {', '.join(names)}, got {subject!r}; for more set max_replicas")
    return names.index(subject)


def _check_failure(scenario: Scenario, change: Change) -> None:
    if getattr(scenario.stations.get(change.subject), "failure", None) is None:
        raise InputError(
            f"failure: must be of a station that sets failure, got {change.subject!r}; write failure: 0 in the scenario"
        )
    if not 0.0 <= change.value <= 1.0:
        raise InputError(f"failure: {change.subject}: must be from 0 to 1, got {change.value}; 0 lets no call fail")


def _check_replicas(scenario: Scenario, change: Change) -> None:
    name, group = only(scenario, ConsumerGroup)
    if change.subject != name:
        raise InputError(f"replicas: must be of the consumer group, got {change.subject!r}; write {name!r}")
    if change.value not in range(group.most_replicas + 1):
        raise InputError(
            f"replicas: {name}: must be a whole number from 0 to {group.most_replicas}, got {change.value:g}; for more set max_replicas"
        )


def _check_weight(scenario: Scenario, change: Change) -> None:
    _check_release(scenario, change)
    if not 0.0 <= change.value <= 1.0:
        raise InputError(
            f"weight: {change.subject}: must be from 0 to 1, got {change.value}; 0 takes it out of service"
        )


def _check_release(scenario: Scenario, change: Change) -> None:
    pools = {name: pool for name, pool in scenario.stations.items() if isinstance(pool, Pool)}
    names = [f"{name}/{release}" for name, pool in pools.items() for release in pool.releases]
    if change.subject not in names:
        remedy = f"valid names: {', '.join(names)}" if names else "add releases to a pool"
        raise InputError(f"{change.operation}: must be of a release, got {change.subject!r}; {remedy}")

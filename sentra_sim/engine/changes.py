"""Changes to a running simulation: what a controller or a fault does to it, at a moment between two of its events."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal, NamedTuple, Protocol, get_args

from sentra_sim.engine.trace import Trace
from sentra_sim.errors import InputError
from sentra_sim.scenario import Log, Scenario, only

BrokerOperation = Literal["kill", "start", "pause", "resume", "partition", "heal", "slow"]
Operation = Literal["demand"] | BrokerOperation


class Change(NamedTuple):
    """One change: when, what, of which station, broker, replica or host, and to which value.

    | operation | subject | value |
    |---|---|---|
    | `demand` | station | factor on all its CPU demands, for jobs that start from now on |
    | `kill`, `start` | broker's process | none: ends it at once; starts it again if it was killed |
    | `pause`, `resume` | broker's process | none: it answers nobody; it goes on |
    | `partition`, `heal` | broker's process | none: cut off from the other brokers, not from clients; reached again at once |
    | `slow` | broker's process | latency of its answers to clients and of its replication, s; `heal` takes it away |
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


def broker_number(scenario: Scenario, process: str) -> int:
    """Returns the number (from 0) of the broker with a process's name, -1 for another process."""
    name, log = only(scenario, Log)
    names = [f"{name}-{number + 1}" for number in range(log.brokers)]
    return names.index(process) if process in names else -1


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
    elif change.operation in get_args(BrokerOperation):
        _check_broker_change(scenario, change)


def _check_broker_change(scenario: Scenario, change: Change) -> None:
    place, (name, log) = change.operation, only(scenario, Log)
    if broker_number(scenario, change.subject) < 0:
        names = ", ".join(f"{name}-{number + 1}" for number in range(log.brokers))
        raise InputError(f"{place}: must be of a broker, got {change.subject!r}; valid names: {names}")
    if place == "slow" and not 0.0 <= change.value < math.inf:
        raise InputError(f"{place}: {change.subject}: must be a latency >= 0 s, got {change.value}; 0 changes nothing")

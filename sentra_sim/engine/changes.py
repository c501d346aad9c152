"""Changes to a running simulation: what a controller or a fault does to it, at a moment between two of its events."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple, Protocol

from sentra_sim.engine.trace import Trace
from sentra_sim.errors import InputError
from sentra_sim.scenario import Scenario

Operation = Literal["demand"]


class Change(NamedTuple):
    """One change: when, what, of which station, broker, replica or host, and to which value.

    | operation | subject | value |
    |---|---|---|
    | `demand` | station | factor on all its CPU demands, for jobs that start from now on |
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
    play_changes(simulation, changes)
    return simulation.trace()


def play_changes(simulation: Simulation, changes: Iterable[Change]) -> None:
    """Plays a simulation up to the last change of a timetable."""
    for change in sorted(changes, key=lambda change: change.at_s):
        simulation.advance(change.at_s)
        simulation.apply(change)


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

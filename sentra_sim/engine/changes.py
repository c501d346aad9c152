"""Changes to a running simulation: what a controller or a fault does to it, at a moment between two of its events."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple, Protocol

from sentra_sim.engine.host_changes import ON_HOSTS, ON_PROCESSES, check_host_change
from sentra_sim.engine.trace import Trace
from sentra_sim.errors import InputError
from sentra_sim.scenario import Scenario

Operation = Literal[
    "demand", "pause", "resume", "restart", "speed", "host-down", "host-up", "neighbour", "slow", "lossy"
]


class Change(NamedTuple):
    """One change: when, what, of which station, broker, replica or host, and to which value.

    | operation | subject | value |
    |---|---|---|
    | `demand` | station | factor on all its CPU demands, for jobs that start from now on |
    | `pause` | process | none: all its threads stop where they stand (SIGSTOP); jobs that come wait |
    | `resume` | process | none: a paused process goes on (SIGCONT) |
    | `restart` | process | none: it ends and starts at once, cold; its jobs under way begin anew, as their callers try again |
    | `speed` | host | factor on the speed of its cores in the scenario, for jobs under way too |
    | `host-down` | host | none: all its processes end, and what they had under way; jobs that come wait |
    | `host-up` | host | none: they start again, as with `restart` |
    | `neighbour` | host | 1 lets the host's neighbour run, 0 stops it |
    | `slow` | host | its `network_s` from now on, s; what is under way keeps its time |
    | `lossy` | host | its `loss` from now on |

    A process is named as in the CPU accounts, a broker `kafka-1`; `worker` stands for all replicas, `worker/1` for the first.
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
    elif change.operation in ON_PROCESSES + ON_HOSTS:
        check_host_change(scenario, change.operation, change.subject, change.value)

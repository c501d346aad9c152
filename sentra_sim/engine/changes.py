"""Changes to a running simulation: what a controller or a fault does to it, at a moment between two of its events."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple, Protocol

from sentra_sim.engine.trace import Trace

Operation = Literal[
    "demand",
    "weight",
    "failure",
    "replicas",
    "kill",
    "start",
    "stop",
    "pause",
    "resume",
    "partition",
    "heal",
    "slow",
]


class Change(NamedTuple):
    """One change: when, what, of which station, broker, consumer, release, process or host, and to which value.

    | operation | subject | value |
    |---|---|---|
    | `demand` | station | factor on all its CPU demands, for jobs that start from now on |
    | `weight` | release of a pool, as `pricing/canary` | its share of the keys, from the next job on; the other releases have none |
    | `start` | release of a pool | begins anew: its cache is cold, it has leaked nothing yet |
    | `failure` | called station whose scenario sets it | share of the calls that fail |
    | `replicas` | consumer group | how many consumers run: those with the lowest numbers are started first, stopped last |
    | `kill`, `start` | consumer, as `worker-2` | ends at once, its poll not committed; starts again |
    | `stop` | consumer | ends in order: it finishes its poll, commits and leaves the group |
    | `kill`, `start` | broker, as `kafka-1` | ends at once; starts again if it was killed |
    | `pause`, `resume` | broker | it answers nobody; it goes on |
    | `partition`, `heal` | broker | cut off from the other brokers, not from clients; reached again at once |
    | `slow` | broker | latency of its answers to clients and of its replication, s; `heal` takes it away |

    A consumer group's name stands for all its consumers.
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

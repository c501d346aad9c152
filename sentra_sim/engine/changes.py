"""Changes to a running simulation: what a controller or a fault does to it, at a moment between two of its events."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple, Protocol

from sentra_sim.engine.trace import Trace, View

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
    "restart",
    "speed",
    "host-down",
    "host-up",
    "neighbour",
    "lossy",
    "store-replicas",
    "slow-clients",
    "poison",
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
    | | batcher with `recovery` | drains: takes nothing more, and ends when all that it has is acknowledged or given up |
    | | pool or store with `recovery` | gives no more connections: what holds one comes to its end, what waits for one waits |
    | `kill`, `start` | batcher with `recovery` | ends at once, with what only it knew of; is ready `restart_s` after its start |
    | `kill`, `start` | broker, as `kafka-1` | ends at once; starts again if it was killed |
    | `pause`, `resume` | process | all its threads stop where they stand (SIGSTOP), jobs that come wait; it goes on (SIGCONT) |
    | | broker | beside that it answers nobody, so that the controller fences it in time |
    | | consumer | beside that it sends no heartbeats, so that its session may end; it joins again when it goes on |
    | `kill` | pool, store or edge with `recovery` | its process ends, and with it the work on polls, which are brought again |
    | `start` | the same | it recovers, then serves again |
    | `store-replicas` | store with `flush_s` | how many replicas get polls, up to `max_replicas` |
    | `slow-clients` | edge with `subscribers` | share of its subscribers that are slow, 0 to 1 |
    | `poison` | consumer group that sets `poison_share` | share of poison among the events that the batcher takes from now on |
    | `restart` | process | it ends and starts at once, cold; its jobs under way begin anew, as their callers try again |
    | `partition`, `heal` | broker | cut off from the other brokers, not from clients; reached again at once |
    | `slow` | broker | latency of its answers to clients and of its replication, s; `heal` takes it away |
    | `slow` | host | its `network_s` from now on, s; what is under way keeps its time |
    | `lossy` | host | its `loss` from now on |
    | `speed` | host | factor on the speed of its cores in the scenario, for jobs under way too |
    | `host-down` | host | all its processes end, brokers, consumers and stations with `recovery` as with `kill`; jobs that come wait |
    | `host-up` | host | they start again, what else was under way begins anew |
    | `neighbour` | host | 1 lets the host's neighbour run, 0 stops it |

    A process is named as in the CPU accounts, a broker `kafka-1`; `worker` stands for all consumers, `worker-2` for the second.
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

    def view(self) -> View:
        """Returns what can be read of the run as it stands; reading changes nothing."""
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

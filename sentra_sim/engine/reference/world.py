"""What all stations of the reference engine share: frames, batches of them, the clock, the hosts, the accounts."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import simpy
from numpy.typing import NDArray

from sentra_sim.engine.cgroups import Cgroup as CgroupSpec
from sentra_sim.engine.cgroups import accounts, cgroups, first_cgroups
from sentra_sim.engine.network import ways
from sentra_sim.engine.numbers import Numbers
from sentra_sim.engine.owners import station_of
from sentra_sim.engine.plan import LIMIT_PHASE, Plan
from sentra_sim.engine.reference.hosts import Cgroup, Draws, Host, Thread, Work
from sentra_sim.engine.reference.limits import Limit
from sentra_sim.engine.reference.network import Link, crossing_s
from sentra_sim.engine.reference.poison import Poison
from sentra_sim.engine.reference.sharing import SharingHost
from sentra_sim.engine.reference.slicing import SliceHost
from sentra_sim.engine.streams import LOSS
from sentra_sim.engine.tallies import tallies_of
from sentra_sim.engine.trace import (
    DUPLICATE,
    EVENT_SHED,
    OPEN,
    RELEASE_JOB,
    SHED,
    Trace,
    clip_attempts,
    host_busy,
    settle,
    used_seconds,
)
from sentra_sim.scenario import ConsumerGroup, hop_edges, only, processes
from sentra_sim.scenario.schema import Delay, Demand, Noise
from sentra_sim.scenario.topology import effect_hop

Process = Generator[simpy.Event, Any, None]
NOTHING_DRAWN = Numbers(Noise(), 0, "", "", jobs=0, kept=False)


@dataclass(eq=False)
class Frame:
    """A batch of events of one partition, with the times of its hops."""

    number: int
    partition: int
    hops_s: list[float]
    events: int = 0
    poll: int = -1
    canary_events: int = 0
    members: list[int] = field(default_factory=list)  # its events, where releases are told by their keys
    outcome: int = OPEN
    attempts: int = 1
    repeats: int = 0
    bad: int = 0  # events that fail whenever they are processed
    dead: int = 0  # those of them that were put aside or dropped
    copies: list[tuple[int, bool]] = field(default_factory=list)  # events, and whether for the first time; if tracked
    fetched: bool = False  # by a consumer whose fetches wait
    offset: int = -1  # in its partition, where segments are deleted
    bytes: float = 0.0  # where events are weighed
    size: float = 0.0  # of its last event


@dataclass(eq=False)
class Batch:
    """Frames that travel together: a produce request or a consumer's poll."""

    frames: list[Frame] = field(default_factory=list)
    events: int = 0
    reply: simpy.Event | None = None  # what the consumer of a poll waits for
    failed: bool = False  # the call under way did, as its station tells the consumer
    left: int = 0  # events of a poll that a canary has failed and stable is to work on

    def add(self, frame: Frame) -> None:
        """Takes a frame along."""
        self.frames.append(frame)
        self.events += frame.events


class Special(Protocol):
    """A station with timers, tallies, and changes of its own."""

    def arm(self) -> None:
        """Sets the timers that are set before anything else."""

    def tallies(self) -> dict[str, float]:
        """Returns what the station has counted, in the order of `tallies`."""

    def change(self, operation: str, value: float) -> None:
        """Makes a change."""


class Keeper(Protocol):
    """What deletes old segments of the log."""

    def appended(self, request: Batch) -> None:
        """Takes what is appended to the log."""

    def drops(self, frame: Frame) -> bool:
        """Tells whether a frame is gone, and if so ends it."""


class Weighted(Protocol):
    """A pool with releases."""

    def set_weight(self, release: str, weight: float) -> None:
        """Gives a release its share of the keys."""

    def begin(self, release: str) -> None:
        """Begins a release anew."""


class World:
    """What all stations share: the clock, the hosts, the frames, the CPU accounts, the plan's numbers."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.scenario = plan.scenario
        self.env = simpy.Environment()
        self.hosts: dict[str, Host] = {
            name: SharingHost(self.env, spec) if spec.discipline == "ps" else SliceHost(self.env, spec)
            for name, spec in plan.scenario.hosts.items()
        }
        self.hop = {edge.hop: number for number, edge in enumerate(hop_edges(plan.scenario))}
        self.process = {name: number for number, name in enumerate(processes(plan.scenario))}
        self.cpu_s = np.zeros((accounts(plan.scenario), math.ceil(plan.cap_s) + 2))
        self.cgroups = [self._cgroup(number, each) for number, each in enumerate(cgroups(plan.scenario))]
        self.first_cgroup = first_cgroups(plan.scenario)
        self.ways = ways(plan.scenario)
        self.links = {name: Link(spec.network_s, spec.loss) for name, spec in plan.scenario.hosts.items()}
        self.losses = Draws(plan.multipliers.get(LOSS, NOTHING_DRAWN))
        self.frames: list[Frame] = []
        self.event_frame = np.full(len(plan.partition), -1, dtype=np.int64)
        self.polls = 0
        self.lag_events = 0  # of the consumer group: acknowledged by the log, not taken by a poll yet
        stations = plan.scenario.stations.items()
        self.failure = {name: getattr(station, "failure", None) or 0.0 for name, station in stations}
        may_fail = [owner for owner, purpose in plan.streams if purpose == "failure"]
        self.chances = {name: Draws(plan.multipliers[name, "failure"]) for name in may_fail}
        self.keeps_first = False  # frames may come to a hop again: a consumer was killed
        self.effect = self.hop[effect_hop(plan.scenario)]
        self.idempotent = only(plan.scenario, ConsumerGroup)[1].idempotent
        self.place: list[int] = plan.place.tolist()
        self.poison = Poison(plan)
        self.releases: Weighted | None = None
        self.release_jobs: list[tuple[float, ...]] = []
        self.stores: dict[str, Special] = {}  # stores and edges with timers and tallies, which changes may be about
        self.counts: dict[str, Callable[[], dict[str, float]]] = {}  # tallies of what is no `Special`
        self.on_acked: list[Callable[[list[Frame]], None]] = []
        self.on_gone: list[Callable[[Frame], None]] = []  # of frames that the producer gives up
        self.sends: list[int] = []  # by message, if clients are impatient
        self.factor = dict.fromkeys(plan.scenario.stations, 1.0)  # on a station's demands
        self.retention: Keeper | None = None
        self.weighs = False  # frames know their sizes
        self.felled: dict[str, list[str]] = {}  # what a host that is down took along
        self.down: set[int] = set()  # processes that run no background jobs

    def finish(self) -> Trace:
        """Accounts for what is unfinished and returns what happened."""
        plan = self.plan
        for host in self.hosts.values():
            host.stop()
        cpu_s = self.cpu_s[: len(self.process)]
        cpu_s = cpu_s[:, : used_seconds(cpu_s, plan.seconds)].copy()
        hops_s = np.array([frame.hops_s for frame in self.frames]).reshape(len(self.frames), len(self.hop))
        return Trace(
            partition=np.array([frame.partition for frame in self.frames], dtype=np.int16),
            events=np.array([frame.events - frame.repeats for frame in self.frames], dtype=np.int32),
            poll=np.array([frame.poll for frame in self.frames], dtype=np.int64),
            hops_s=hops_s,
            frame=self.event_frame,
            cpu_s=cpu_s,
            host_busy_s=host_busy(plan.scenario, cpu_s),
            canary_events=np.array([frame.canary_events for frame in self.frames], dtype=np.int32),
            release_jobs=np.array(self.release_jobs, dtype=RELEASE_JOB),
            outcome=settle(plan.scenario, np.array([frame.outcome for frame in self.frames], dtype=np.int8), hops_s),
            attempts=clip_attempts(np.array([frame.attempts for frame in self.frames], dtype=np.int64)),
            tallies=self._tallies(),
            repeats=np.array([frame.repeats for frame in self.frames], dtype=np.int32),
            sends=np.array(self.sends, dtype=np.int32),
            dead=np.array([frame.dead for frame in self.frames], dtype=np.int32),
            poison=self.poison.bad,
        )

    def _tallies(self) -> NDArray[np.float64]:
        counts = {name: station.tallies for name, station in self.stores.items()} | self.counts
        counted = {name: counts[name]() for name in tallies_of(self.scenario)}
        return np.array([value for tallies in counted.values() for value in tallies.values()], dtype=np.float64)

    def _cgroup(self, number: int, spec: CgroupSpec) -> Cgroup:
        cgroup = Cgroup(number, self.hosts[spec.host], self.cpu_s[spec.process])
        if not spec.own:
            return cgroup
        station = self.scenario.stations[spec.station]
        cgroup.warmup = station.warmup
        if station.cpu_limit_cores > 0.0:
            period_s = station.cpu_period_s
            end_s = period_s * self.plan.phase[spec.owner, LIMIT_PHASE]
            cgroup.limit = Limit(self.env, cgroup, station.cpu_limit_cores * period_s, period_s, end_s)
        return cgroup

    def thread(self, process: int, *, low: bool, replica: int = 0) -> Thread:
        """Returns a new thread of a process (of which replica, if it has some), on the process's host."""
        return Thread(self.env, self.cgroups[self.first_cgroup[process] + replica], low=low)

    def work(self, owner: str, purpose: str, demand: Demand) -> Work:
        """Returns a kind of job with its stream."""
        station = station_of(owner)
        return Work(demand, Draws(self.plan.multipliers[owner, purpose]), lambda: self.factor[station])

    def delays(self, owner: str, purpose: str, delay: Delay) -> Callable[[], float]:
        """Returns a function that draws delays of this kind, s, one after another."""
        draws = Draws(self.plan.multipliers[owner, purpose])
        way = self.ways.get((station_of(owner), purpose))

        def draw() -> float:
            drawn_s = delay.mean_s * draws.next()
            if way:
                drawn_s += crossing_s(self.links[way[0]], self.links[way[1]], self.losses)
            return drawn_s

        return draw

    def delay(self, owner: str, purpose: str, delay: Delay) -> Callable[..., None]:
        """Returns a function that calls another one, with its arguments, after a delay of this kind."""
        delay_s = self.delays(owner, purpose, delay)

        def after(then: Callable[..., None], *args: Any, also_s: float = 0.0) -> None:
            self.after(delay_s() + also_s, then, *args)

        return after

    def after(self, delay_s: float, then: Callable[..., None], *args: Any) -> None:
        """Calls a function after a time that occupies no core."""
        self.env.timeout(delay_s).callbacks.append(lambda _: then(*args))

    def fails(self, station: str, poll: Batch) -> bool:
        """Tells whether a consumer's call of a station fails, and notes it for the consumer."""
        share = self.failure[station]
        if share > 0.0 and self.chances[station].next() < share:
            poll.failed = True
            return True
        return False

    def bytes_of(self, frame: Frame) -> float:
        """Returns the size of a frame."""
        return frame.bytes if self.weighs else float(frame.events * self.scenario.load.event_bytes)

    def let_go(self, frame: Frame) -> None:
        """Ends a frame that nobody sends any more; its events were never acknowledged, and may come again in another."""
        for event, fresh in frame.copies:
            if fresh:
                self.event_frame[event] = EVENT_SHED
        frame.repeats = frame.events
        frame.outcome = SHED

    def stamp(self, frames: list[Frame], hop: str) -> None:
        """Notes that frames have reached a hop now."""
        column = self.hop[hop]
        for frame in frames:
            if not self.keeps_first or math.isnan(frame.hops_s[column]):
                frame.hops_s[column] = self.env.now
            elif column == self.effect and not self.idempotent and frame.outcome == OPEN:
                frame.outcome = DUPLICATE

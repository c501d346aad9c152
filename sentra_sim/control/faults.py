"""The fault injector: actions by a timetable, or a random campaign of them; what has a length is taken back after it."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from sentra_sim.control.document import Block
from sentra_sim.control.loop import Desk, Process
from sentra_sim.control.plant import (
    Action,
    Burden,
    Heal,
    Kill,
    Partition,
    Pause,
    Restart,
    Resume,
    SetSpeed,
    SetWeights,
    SetWorkers,
    Slow,
    Start,
    Stop,
)
from sentra_sim.rng import stream

Share = Annotated[float, Field(ge=0.0, le=1.0)]


SUBJECTS = {"burden": "station", "speed": "host", "weights": "weights", "workers": "count"}  # of others a process
OPTIONS = {
    "partition": ("peers", "clients"),
    "slow": ("latency_s", "jitter_s", "share", "peers"),
    "burden": ("factor",),
    "speed": ("speed",),
}


class Fault(Block):
    """One action, and after how long it is taken back; without `for_s` it stays.

    | action | keys | taken back by |
    |---|---|---|
    | `kill` | `process` | `start` |
    | `stop` | `process`: a consumer, a batcher, pool or store with `recovery` | `start` |
    | `pause` | `process` | `resume` |
    | `restart`, `start`, `resume`, `heal` | `process` | nothing |
    | `partition` | `process`, `peers`, `clients` | `heal` |
    | `slow` | `process`, `latency_s`, `jitter_s`, `share`, `peers` | `heal` |
    | `burden` | `station`, `factor` | factor 1 |
    | `speed` | `host`, `speed` | speed 1 |
    | `workers` | `count` | nothing |
    | `weights` | `weights` | stable alone |
    """

    action: Literal[
        "kill",
        "start",
        "restart",
        "stop",
        "pause",
        "resume",
        "partition",
        "slow",
        "heal",
        "burden",
        "speed",
        "workers",
        "weights",
    ]
    for_s: PositiveFloat | None = None
    process: str = ""
    peers: bool = False
    clients: bool = False
    latency_s: NonNegativeFloat = 0.0
    jitter_s: NonNegativeFloat = 0.0
    share: Share = 1.0
    station: str = ""
    factor: NonNegativeFloat = 1.0
    host: str = ""
    speed: PositiveFloat = 1.0
    count: PositiveInt = 1
    weights: dict[str, Share] = Field(default={})

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.subject not in self.model_fields_set:
            raise ValueError(f"must name a {self.subject} for the action {self.action}")
        known = {"action", "at_s", "for_s", self.subject, *OPTIONS.get(self.action, ())}
        if foreign := sorted(self.model_fields_set - known):
            raise ValueError(
                f"must have no {' and '.join(foreign)} with the action {self.action}, which has no such key"
            )
        if self.action == "weights" and not math.isclose(sum(self.weights.values()), 1.0, abs_tol=1e-9):
            raise ValueError(f"must have weights that add up to 1, not to {sum(self.weights.values()):g}")
        if self.action == "partition" and not (self.peers or self.clients):
            raise ValueError("must cut off peers, clients or both")
        if self.for_s is not None and self.end() is None:
            raise ValueError(f"must have no for_s with the action {self.action}, which nothing takes back")
        return self

    @property
    def subject(self) -> str:
        """The key that names what the action is about."""
        return SUBJECTS.get(self.action, "process")

    def begin(self) -> Action:
        """Returns the action itself."""
        by_process: dict[str, Action] = {
            "kill": Kill(self.process),
            "start": Start(self.process),
            "restart": Restart(self.process),
            "stop": Stop(self.process),
            "pause": Pause(self.process),
            "resume": Resume(self.process),
            "heal": Heal(self.process),
            "partition": Partition(self.process, self.peers, self.clients),
            "slow": Slow(self.process, self.latency_s, self.jitter_s, self.share, self.peers),
            "burden": Burden(self.station, self.factor),
            "speed": SetSpeed(self.host, self.speed),
            "workers": SetWorkers(self.count),
            "weights": SetWeights(self.weights),
        }
        return by_process[self.action]

    def end(self) -> Action | None:
        """Returns what takes the action back."""
        ends: dict[str, Action] = {
            "kill": Start(self.process),
            "stop": Start(self.process),
            "pause": Resume(self.process),
            "partition": Heal(self.process),
            "slow": Heal(self.process),
            "burden": Burden(self.station, 1.0),
            "speed": SetSpeed(self.host, 1.0),
            "weights": SetWeights({"stable": 1.0}),
        }
        return ends.get(self.action)


class TimedFault(Fault):
    """A fault and when it begins, s since the load's start."""

    at_s: NonNegativeFloat


class RandomFaults(Block):
    """Faults drawn alike from `choose`, with exponential gaps of mean `mean_gap_s` between their beginnings."""

    mean_gap_s: PositiveFloat
    seed: NonNegativeInt
    choose: Annotated[tuple[Fault, ...], Field(min_length=1)]
    start_s: NonNegativeFloat = 0.0
    count: PositiveInt | None = None


class FaultPlan(Block):
    """A timetable of faults, a random campaign, or both."""

    timetable: tuple[TimedFault, ...] = ()
    random: RandomFaults | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.timetable and self.random is None:
            raise ValueError("must hold a timetable, random, or both")
        return self

    def faults(self) -> Iterator[tuple[float, Fault]]:
        """Yields the faults with their times, in order; a campaign without `count` has no end."""
        timed = sorted(((fault.at_s, fault) for fault in self.timetable), key=lambda item: item[0])
        return heapq.merge(timed, self._drawn(), key=lambda item: item[0])

    @property
    def most_workers(self) -> int:
        """Up to how many workers one of its actions sets, 0 where none does."""
        drawn = self.random.choose if self.random is not None else ()
        return max([fault.count for fault in (*self.timetable, *drawn) if fault.action == "workers"], default=0)

    def _drawn(self) -> Iterator[tuple[float, Fault]]:
        if self.random is None:
            return
        rng = stream(self.random.seed, "control", "faults")
        at_s, left = self.random.start_s, self.random.count
        while left is None or left > 0:
            at_s += self.random.mean_gap_s * float(rng.standard_exponential())
            yield at_s, self.random.choose[int(rng.integers(len(self.random.choose)))]
            left = None if left is None else left - 1


class FaultInjector:
    """Plays a plan of faults."""

    name = "faults"

    def __init__(self, plan: FaultPlan) -> None:
        self.plan = plan

    def run(self, desk: Desk) -> Process:
        """Plays faults and takes them back, each at its time."""
        pending: list[tuple[float, int, Action]] = []  # what takes faults back that are under way
        number = 0
        for at_s, fault in self.plan.faults():
            yield from self._take_back(desk, pending, until_s=at_s)
            yield desk.wait(at_s - desk.now_s)
            desk.apply(fault.begin())
            end = fault.end()
            if fault.for_s is not None and end is not None:
                heapq.heappush(pending, (at_s + fault.for_s, number, end))
                number += 1
        yield from self._take_back(desk, pending, until_s=float("inf"))

    def _take_back(self, desk: Desk, pending: list[tuple[float, int, Action]], *, until_s: float) -> Process:
        while pending and pending[0][0] <= until_s:
            at_s, _, action = heapq.heappop(pending)
            yield desk.wait(at_s - desk.now_s)
            desk.apply(action)

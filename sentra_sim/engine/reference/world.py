"""What all stations of the reference engine share: frames, batches of them, the clock, the hosts, the accounts."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import simpy

from sentra_sim.engine.plan import Plan, station_of
from sentra_sim.engine.reference.hosts import Draws, Thread, Work, make_host
from sentra_sim.engine.trace import Trace, host_busy, process_hosts, used_seconds
from sentra_sim.scenario import hop_edges, processes
from sentra_sim.scenario.schema import Delay, Demand

Process = Generator[simpy.Event, Any, None]


@dataclass(eq=False)
class Frame:
    """A batch of events of one partition, with the times of its hops."""

    number: int
    partition: int
    hops_s: list[float]
    events: int = 0
    poll: int = -1


@dataclass(eq=False)
class Batch:
    """Frames that travel together: a produce request or a consumer's poll."""

    frames: list[Frame] = field(default_factory=list)
    events: int = 0
    missing: int = 0  # followers that have not replicated a request yet
    reply: simpy.Event | None = None  # what the consumer of a poll waits for

    def add(self, frame: Frame) -> None:
        """Takes a frame along."""
        self.frames.append(frame)
        self.events += frame.events


class World:
    """What all stations share: the clock, the hosts, the frames, the CPU accounts, the plan's numbers."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.scenario = plan.scenario
        self.env = simpy.Environment()
        self.hosts = {name: make_host(self.env, spec) for name, spec in plan.scenario.hosts.items()}
        self.hop = {edge.hop: number for number, edge in enumerate(hop_edges(plan.scenario))}
        self.process = {name: number for number, name in enumerate(processes(plan.scenario))}
        self.process_host = process_hosts(plan.scenario)
        self.cpu_s = np.zeros((len(self.process_host), math.ceil(plan.cap_s) + 2))
        self.frames: list[Frame] = []
        self.event_frame = np.full(len(plan.partition), -1, dtype=np.int64)
        self.polls = 0
        self.factor = dict.fromkeys(plan.scenario.stations, 1.0)  # on a station's demands

    def finish(self) -> Trace:
        """Accounts for what is unfinished and returns what happened."""
        plan = self.plan
        for host in self.hosts.values():
            host.stop()
        cpu_s = self.cpu_s[:, : used_seconds(self.cpu_s, plan.seconds)].copy()
        return Trace(
            partition=np.array([frame.partition for frame in self.frames], dtype=np.int16),
            events=np.array([frame.events for frame in self.frames], dtype=np.int32),
            poll=np.array([frame.poll for frame in self.frames], dtype=np.int64),
            hops_s=np.array([frame.hops_s for frame in self.frames]).reshape(len(self.frames), len(self.hop)),
            frame=self.event_frame,
            cpu_s=cpu_s,
            host_busy_s=host_busy(plan.scenario, cpu_s),
        )

    def thread(self, process: int, *, low: bool) -> Thread:
        """Returns a new thread of a process, on the process's host."""
        return Thread(self.env, self.hosts[self.process_host[process]], self.cpu_s[process], low=low)

    def work(self, owner: str, purpose: str, demand: Demand) -> Work:
        """Returns a kind of job with its stream."""
        station = station_of(owner)
        return Work(demand, Draws(self.plan.multipliers[owner, purpose]), lambda: self.factor[station])

    def delay(self, owner: str, purpose: str, delay: Delay) -> Callable[..., None]:
        """Returns a function that calls another one, with its arguments, after a delay of this kind."""
        draws = Draws(self.plan.multipliers[owner, purpose])

        def after(then: Callable[..., None], *args: Any) -> None:
            self.after(delay.mean_s * draws.next(), then, *args)

        return after

    def after(self, delay_s: float, then: Callable[..., None], *args: Any) -> None:
        """Calls a function after a time that occupies no core."""
        self.env.timeout(delay_s).callbacks.append(lambda _: then(*args))

    def stamp(self, frames: list[Frame], hop: str) -> None:
        """Notes that frames have reached a hop now."""
        column = self.hop[hop]
        for frame in frames:
            frame.hops_s[column] = self.env.now

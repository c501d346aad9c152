"""A run of the reference engine."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sentra_sim.engine.changes import Change, check_change
from sentra_sim.engine.plan import Plan
from sentra_sim.engine.reference.background import start_backgrounds
from sentra_sim.engine.reference.batcher import BatcherModel
from sentra_sim.engine.reference.consumers import ConsumerModel
from sentra_sim.engine.reference.log import LogModel
from sentra_sim.engine.reference.source import source
from sentra_sim.engine.reference.world import World
from sentra_sim.engine.trace import Rows, Trace, View


class ReferenceSimulation:
    """See `changes.Simulation`."""

    def __init__(self, plan: Plan) -> None:
        self.world = World(plan)
        self.consumers = ConsumerModel(self.world)
        self.log = LogModel(self.world, self.consumers)
        self.batcher = BatcherModel(self.world, self.log)
        self.world.env.process(source(self.world, self.batcher))
        start_backgrounds(self.world)

    @property
    def now_s(self) -> float:
        """The simulated time, s."""
        return float(self.world.env.now)

    def advance(self, to_s: float) -> None:
        """Plays all events before `to_s`."""
        to_s = min(to_s, self.world.plan.cap_s)
        if to_s > self.world.env.now:
            self.world.env.run(until=to_s)

    def apply(self, change: Change) -> None:
        """Makes a change now."""
        check_change(self.world.scenario, change)
        if change.operation == "demand":
            self.world.factor[change.subject] = change.value

    def view(self) -> View:
        """Returns what can be read now."""
        world = self.world
        return View(
            self.now_s, len(world.frames), self._rows, lambda events: np.asarray(world.event_frame[events]), world.cpu_s
        )

    def _rows(self, numbers: NDArray[np.int64]) -> Rows:
        frames = [self.world.frames[number] for number in numbers.tolist()]
        closed = self.world.hop[self.batcher.spec.hops[1]]
        return Rows(
            partition=np.array([frame.partition for frame in frames], dtype=np.int16),
            events=np.array([0 if math.isnan(one.hops_s[closed]) else one.events for one in frames], dtype=np.int32),
            hops_s=np.array([frame.hops_s for frame in frames]).reshape(len(frames), len(self.world.hop)),
        )

    def trace(self) -> Trace:
        """Plays to the end."""
        self.advance(self.world.plan.cap_s)
        return self.world.finish()

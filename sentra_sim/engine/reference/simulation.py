"""A run of the reference engine."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sentra_sim.engine.change_checks import check_change
from sentra_sim.engine.changes import Change
from sentra_sim.engine.plan import Plan
from sentra_sim.engine.reference.admission import make_tracking
from sentra_sim.engine.reference.background import start_backgrounds
from sentra_sim.engine.reference.batcher import BatcherModel
from sentra_sim.engine.reference.changes import apply_change
from sentra_sim.engine.reference.clients import make_clients
from sentra_sim.engine.reference.consumers import ConsumerModel
from sentra_sim.engine.reference.log import LogModel
from sentra_sim.engine.reference.source import source
from sentra_sim.engine.reference.vacations import start_vacations
from sentra_sim.engine.reference.world import Frame, World
from sentra_sim.engine.trace import Rows, Trace, View


class ReferenceSimulation:
    """See `changes.Simulation`."""

    def __init__(self, plan: Plan) -> None:
        self.world = World(plan)
        self.consumers = ConsumerModel(self.world)
        self.log = LogModel(self.world, self.consumers)
        clients = make_clients(self.world)
        self.batcher = BatcherModel(self.world, self.log, make_tracking(self.world, clients))
        self.world.env.process(source(self.world, self.batcher, clients))
        start_backgrounds(self.world)
        start_vacations(self.world)
        for name in self.world.scenario.stations:
            if name in self.world.stores:
                self.world.stores[name].arm()

    @property
    def now_s(self) -> float:
        """The simulated time, s."""
        return float(self.world.env.now)

    @property
    def lag_events(self) -> int:
        """The consumer group's lag."""
        return self.world.lag_events

    def advance(self, to_s: float) -> None:
        """Plays all events before `to_s`."""
        to_s = min(to_s, self.world.plan.cap_s)
        if to_s > self.world.env.now:
            self.world.env.run(until=to_s)

    def apply(self, change: Change) -> None:
        """Makes a change now."""
        check_change(self.world.scenario, change)
        apply_change(self, change)

    def view(self) -> View:
        """Returns what can be read now."""
        world = self.world
        return View(
            self.now_s,
            len(world.frames),
            self._rows,
            lambda events: np.asarray(world.event_frame[events]),
            world.cpu_s[: len(world.process)],
        )

    def _rows(self, numbers: NDArray[np.int64]) -> Rows:
        frames = [self.world.frames[number] for number in numbers.tolist()]
        closed = self.world.hop[self.batcher.spec.hops[1]]
        return Rows(
            partition=np.array([frame.partition for frame in frames], dtype=np.int16),
            events=np.array([_shown(one, closed) for one in frames], dtype=np.int32),
            hops_s=np.array([frame.hops_s for frame in frames]).reshape(len(frames), len(self.world.hop)),
            outcome=np.array([frame.outcome for frame in frames], dtype=np.int8),
        )

    def trace(self) -> Trace:
        """Plays to the end."""
        self.advance(self.world.plan.cap_s)
        return self.world.finish()


def _shown(frame: Frame, closed: int) -> int:
    return 0 if math.isnan(frame.hops_s[closed]) else frame.events - frame.repeats

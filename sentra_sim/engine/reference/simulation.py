"""A run of the reference engine."""

from __future__ import annotations

from sentra_sim.engine.changes import Change, check_change
from sentra_sim.engine.plan import Plan
from sentra_sim.engine.reference.background import start_backgrounds
from sentra_sim.engine.reference.batcher import BatcherModel
from sentra_sim.engine.reference.consumers import ConsumerModel
from sentra_sim.engine.reference.log import LogModel
from sentra_sim.engine.reference.source import source
from sentra_sim.engine.reference.world import World
from sentra_sim.engine.trace import Trace


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

    def trace(self) -> Trace:
        """Plays to the end."""
        self.advance(self.world.plan.cap_s)
        return self.world.finish()

"""A run of the reference engine."""

from __future__ import annotations

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
from sentra_sim.engine.reference.world import World
from sentra_sim.engine.trace import Trace


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

    def trace(self) -> Trace:
        """Plays to the end."""
        self.advance(self.world.plan.cap_s)
        return self.world.finish()

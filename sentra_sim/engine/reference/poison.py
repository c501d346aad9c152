"""Poison events: which of the offered ones fail whenever they are processed."""

from __future__ import annotations

import numpy as np

from sentra_sim.engine.plan import Plan
from sentra_sim.scenario import ConsumerGroup, only


class Poison:
    """Decides of every event, when the batcher takes it, by the share that is poison then."""

    def __init__(self, plan: Plan) -> None:
        self.share = only(plan.scenario, ConsumerGroup)[1].poison_share or 0.0
        self.chances: list[float] = plan.poison.tolist()
        self.bad = np.zeros(len(self.chances), dtype=np.bool_)

    @property
    def may_be(self) -> bool:
        """Whether any event may be poison."""
        return bool(self.chances)

    def spoils(self, event: int) -> bool:
        """Tells whether an event that is being taken is poison, and notes it."""
        if not self.chances or not (self.bad[event] or self.chances[event] < self.share):
            return False
        self.bad[event] = True
        return True

"""Sizes of events, drawn as the batcher takes them."""

from __future__ import annotations

import math
from itertools import accumulate

from sentra_sim.engine.reference.hosts import Draws
from sentra_sim.engine.reference.world import Frame, World
from sentra_sim.engine.streams import SIZE
from sentra_sim.scenario import Batcher, only


class Scales:
    """Weighs the next event of a frame, and tells when a frame has no room for it."""

    def __init__(self, world: World) -> None:
        name, batcher = only(world.scenario, Batcher)
        self.spec, self.event_bytes = world.scenario.load.sizes, world.scenario.load.event_bytes
        self.limit = float(batcher.batch_bytes or math.inf)
        if self.spec is not None:
            self.draws = Draws(world.plan.multipliers[name, SIZE])
            self.classes = list(zip(accumulate(self.spec.shares), self.spec.bytes, strict=True))

    def next(self, frame: Frame | None) -> float:
        """Returns the size of the next event, of an open frame or, with None, of one that is to be opened."""
        if self.spec is None:
            return float(self.event_bytes)
        if frame is not None and self.spec.per == "frame":
            return frame.size
        number = self.draws.next()
        if self.classes:
            found = (size for edge, size in self.classes[:-1] if number < edge)
            return float(next(found, self.classes[-1][1]))
        return max(1.0, float(round(self.spec.mean_bytes * number)))


def make_scales(world: World) -> Scales | None:
    """Returns what weighs events, if their sizes differ or a frame's is limited."""
    limited = only(world.scenario, Batcher)[1].batch_bytes > 0
    return Scales(world) if limited or world.scenario.load.sizes is not None else None

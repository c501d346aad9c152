"""A store's checkpoints. They cost no event of their own: whoever commits or flushes first sees whether one is due."""

from __future__ import annotations

import math

from sentra_sim.scenario import Store


class Checkpoints:
    """When the last checkpoint began, what has been changed since, and whether it still slows the disk."""

    def __init__(self, spec: Store) -> None:
        self.spec = spec.checkpoint
        self.due_s = math.inf if self.spec is None else self.spec.every_s
        self.until_s = 0.0  # the last one slows the disk until then
        self.unchanged_pages = 0.0 if self.spec is None else float(self.spec.pages)
        self.events = 0  # committed since
        self.count = 0.0
        self.images = 0.0

    def begin(self, at_s: float) -> None:
        """Begins a checkpoint; a store without any only forgets what a recovery need not redo again."""
        self.events = 0
        if self.spec is None:
            return
        self.due_s = at_s + self.spec.every_s
        self.until_s = at_s + self.spec.seconds
        self.unchanged_pages = float(self.spec.pages)
        self.count += 1.0

    def look(self, now_s: float) -> None:
        """Begins the checkpoints that have become due."""
        while now_s >= self.due_s:
            self.begin(self.due_s)
        if self.spec is not None and self.spec.every_events > 0 and self.events >= self.spec.every_events:
            self.begin(now_s)

    def change(self, events: int, now_s: float) -> float:
        """Notes that events commit, and returns the seconds that a flush needs for the whole pages that they write."""
        self.look(now_s)
        self.events += events
        if self.spec is None or self.spec.pages == 0:
            return 0.0
        images: float = self.unchanged_pages * (1.0 - (1.0 - 1.0 / self.spec.pages) ** float(events))
        self.unchanged_pages -= images
        self.images += images
        return images * self.spec.page_s

    def slowdown(self, now_s: float) -> float:
        """Returns the factor on a flush that begins now."""
        self.look(now_s)
        return self.spec.slowdown if self.spec is not None and now_s < self.until_s else 1.0

"""Backpressure: what the batcher knows of the consumer group's lag, and what it does then."""

from __future__ import annotations

from collections.abc import Callable

from sentra_sim.engine.reference.world import Frame, Process, World
from sentra_sim.scenario.schema import Backpressure


class Pressure:
    """Looks at the lag from time to time; between its high and its low mark it goes on with what it did."""

    def __init__(self, world: World, spec: Backpressure) -> None:
        self.world, self.spec = world, spec
        self.on, self.awake = False, True
        self.since_s = self.held_s = 0.0
        self.shed = self.periods = 0
        self.acked: list[Frame] = []  # whose acknowledgement is held
        self.tell: Callable[[list[Frame]], None] | None = None
        world.env.process(self._watch())

    def refuses(self) -> bool:
        """Tells whether an event must not be taken, and counts it."""
        if not self.on or self.spec.hold_acks:
            return False
        self.shed += 1
        return True

    def holds(self, frames: list[Frame]) -> bool:
        """Tells whether the acknowledgement of frames is kept back, and keeps it."""
        if not self.on or not self.spec.hold_acks:
            return False
        self.acked += frames
        return True

    def sleep(self) -> None:
        """Ends with the batcher's process, and what is kept back with it."""
        if self.on:
            self.on = False
            self.held_s += self.world.env.now - self.since_s
        self.awake, self.acked = False, []

    def tallies(self) -> dict[str, float]:
        """Returns what it has counted."""
        under_way_s = self.world.env.now - self.since_s if self.on else 0.0
        return {
            "backpressure_shed": self.shed,
            "backpressure_periods": self.periods,
            "backpressure_s": self.held_s + under_way_s,
        }

    def _watch(self) -> Process:
        while True:
            yield self.world.env.timeout(self.spec.poll_s)
            if not self.awake:
                continue
            lag_events, now_s = self.world.lag_events, self.world.env.now
            if not self.on and lag_events > self.spec.high_events:
                self.on, self.since_s = True, now_s
                self.periods += 1
            elif self.on and lag_events <= self.spec.low_events:
                self.on = False
                self.held_s += now_s - self.since_s
                acked, self.acked = self.acked, []
                if self.tell is not None:
                    self.tell(acked)

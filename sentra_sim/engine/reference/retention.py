"""What the log keeps of its partitions, by time and by size: segments that are deleted, and consumers that came too late."""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple

from sentra_sim.engine.reference.world import Batch, Frame, Process, World
from sentra_sim.engine.trace import LOST, OPEN
from sentra_sim.scenario import ConsumerGroup, Log, only


class Segment(NamedTuple):
    """A segment that takes no more: the offset after its last event, its bytes, when it was last appended to."""

    end: int
    bytes: float
    last_s: float


class Part:
    """One partition of the log. Offsets count events."""

    def __init__(self) -> None:
        self.start = self.end = 0
        self.floor = 0  # what lies below it the group has given up
        self.bytes = self.active_bytes = self.last_s = 0.0
        self.segments: deque[Segment] = deque()

    def roll(self) -> None:
        """Closes the active segment."""
        self.segments.append(Segment(self.end, self.active_bytes, self.last_s))
        self.active_bytes = 0.0

    def delete(self) -> None:
        """Deletes the first segment."""
        segment = self.segments.popleft()
        self.start = segment.end
        self.bytes -= segment.bytes


class Retention:
    """All partitions, looked at every now and then."""

    def __init__(self, world: World) -> None:
        self.world, self.spec = world, only(world.scenario, Log)[1]
        self.latest = only(world.scenario, ConsumerGroup)[1].offset_reset == "latest"
        self.parts = [Part() for _ in range(self.spec.partitions)]
        world.env.process(self._watch())

    def appended(self, request: Batch) -> None:
        """Gives the frames of a request their offsets, unless they were appended before."""
        for frame in request.frames:
            if frame.offset >= 0:
                continue
            part, size = self.parts[frame.partition], self.world.bytes_of(frame)
            if part.active_bytes > 0.0 and part.active_bytes + size > self.spec.segment_bytes:
                part.roll()
            frame.offset = part.end
            part.end += frame.events
            part.bytes += size
            part.active_bytes += size
            part.last_s = self.world.env.now

    def _watch(self) -> Process:
        while True:
            yield self.world.env.timeout(self.spec.retention_check_s)
            for part in self.parts:
                self._clean(part)

    def _clean(self, part: Part) -> None:
        now_s, keep_s = self.world.env.now, self.spec.retention_s
        if keep_s > 0.0:
            if part.active_bytes > 0.0 and now_s - part.last_s > keep_s:
                part.roll()
            while part.segments and now_s - part.segments[0].last_s > keep_s:
                part.delete()
        if self.spec.retention_bytes > 0:
            while part.segments and part.bytes - part.segments[0].bytes >= self.spec.retention_bytes:
                part.delete()

    def is_gone(self, frame: Frame) -> bool:
        """Tells whether a consumer that is about to read a frame finds it deleted, or goes on behind it for another one that was."""
        part = self.parts[frame.partition]
        if frame.offset < part.start:
            part.floor = max(part.floor, part.end if self.latest else part.start)
        return frame.offset < part.floor

    def drops(self, frame: Frame) -> bool:
        """Tells whether a frame that a consumer is about to read is gone, and accounts for it."""
        if not self.is_gone(frame):
            return False
        self.world.lag_events -= frame.events
        if frame.outcome == OPEN and math.isnan(frame.hops_s[self.world.effect]):
            frame.outcome = LOST
        return True


def make_retention(world: World) -> Retention | None:
    """Returns what deletes old segments, if something does."""
    spec = only(world.scenario, Log)[1]
    return Retention(world) if spec.retains else None

"""The life of the batcher's process: it takes messages, drains, is down, or starts; and what is lost with it."""

from __future__ import annotations

import math
from collections import deque
from typing import Protocol

from sentra_sim.engine.reference.admission import Tracking
from sentra_sim.engine.reference.log import LogModel
from sentra_sim.engine.reference.world import Frame, World
from sentra_sim.engine.trace import EVENT_SHED
from sentra_sim.scenario.schema import Recovery


class Buffers(Protocol):
    """The batcher that a gateway's process runs."""

    name: str
    world: World
    log: LogModel

    def close_all(self) -> None:
        """Closes all open frames."""

    def renew(self) -> None:
        """Makes a new process of it, which has nothing."""


class Gateway:
    """What a batcher with `recovery` has in its charge. One that is up and takes nothing drains."""

    def __init__(self, batcher: Buffers, spec: Recovery, tracking: Tracking) -> None:
        self.batcher, self.spec, self.tracking, self.world = batcher, spec, tracking, batcher.world
        self.process = self.world.process[batcher.name]
        self.up = self.takes = True
        self.starting = False
        self.life = 0
        self.messages: deque[range] = deque()  # that have come and are in no frame yet
        self.frames: dict[Frame, None] = {}  # opened, and neither acknowledged nor given up
        tracking.left = self._left
        self.world.stores[batcher.name] = self

    def arm(self) -> None:
        """Has no timers."""

    def tallies(self) -> dict[str, float]:
        """Counts nothing."""
        return {}

    def lets_in(self, message: range) -> bool:
        """Tells whether a message that comes is let in; one that is not is refused as a whole."""
        if self.takes:
            self.messages.append(message)
            return True
        self._shed(message)
        self.tracking.refused(message.start)
        return False

    def buffered(self) -> None:
        """Notes that the first message is in frames, of which those of a gateway that drains do not linger."""
        self.messages.popleft()
        if not self.takes:
            self.batcher.close_all()
            self._end_if_drained()

    def change(self, operation: str, value: float) -> None:
        """Stops the gateway in order, kills it, or starts it again."""
        del value
        if operation == "stop":
            self._stop()
        elif operation == "kill":
            self._kill()
        elif operation == "start":
            self._start()

    def _stop(self) -> None:
        if not self.up:
            self._kill()
        elif self.takes:
            self.takes = False
            self.batcher.close_all()
            self._end_if_drained()

    def _kill(self) -> None:
        if self.up:
            self._lose()
        if self.up or self.starting:
            self._end()

    def _start(self) -> None:
        """Starts a gateway that is down; one that drains still is killed first."""
        if self.takes or self.starting:
            return
        self._kill()
        self.starting = True
        self.world.cgroups[self.world.first_cgroup[self.process]].renew()
        self.world.after(self.spec.restart_s, self._ready, self.life)

    def _ready(self, life: int) -> None:
        if life != self.life:
            return
        self.up = self.takes = True
        self.starting = False
        self.world.down.discard(self.process)
        self.tracking.wake()

    def _left(self, frame: Frame) -> None:
        del self.frames[frame]
        self._end_if_drained()

    def _end_if_drained(self) -> None:
        if self.up and not self.takes and not self.messages and not self.frames:
            self._end()

    def _end(self) -> None:
        self.life += 1
        self.up = self.takes = self.starting = False
        self.world.down.add(self.process)
        self.tracking.sleep()

    def _lose(self) -> None:
        """Sheds what only the process knew of; what the brokers have goes on, unheard."""
        self.batcher.renew()
        for message in self.messages:
            self._shed(message)
        self.messages.clear()
        log = self.batcher.log
        sent = {frame for shard in log.shards for frame in shard.disown()}
        acked = self.world.hop[log.spec.hop]
        for frame in self.frames:
            if frame in sent or not math.isnan(frame.hops_s[acked]):
                self.tracking.unheard(frame)
            else:
                self.world.let_go(frame)
        self.frames.clear()

    def _shed(self, message: range) -> None:
        taken_by = self.world.event_frame
        for event in message:
            if taken_by[event] < 0:
                taken_by[event] = EVENT_SHED

"""The producer of the log: what it sends to one leader, sends again after waits that grow, or gives up."""

from __future__ import annotations

from collections.abc import Callable

from sentra_sim.engine.reference.request import Request
from sentra_sim.engine.reference.world import Frame, World
from sentra_sim.engine.trace import SHED
from sentra_sim.scenario import Log


class Producer:
    """The producer's side of a shard: `send` sends a request to the leader, `takes` tells whether that would take one."""

    def __init__(self, world: World, spec: Log, send: Callable[[Request], None], takes: Callable[[], bool]) -> None:
        self.world, self.spec, self.send, self.takes = world, spec, send, takes
        self.waiting: list[Frame] = []
        self.outstanding = 0
        self.blocked = False  # it backs off
        self.backoff_s = 0.0
        self.returned: list[Request] = []  # to be sent again

    def request(self) -> None:
        """Sends all frames that wait as one request, if another one may be outstanding."""
        if not self.waiting or self.blocked or self.outstanding == self.spec.in_flight:
            return
        request = Request()
        for frame in self.waiting:
            request.add(frame)
            request.bytes += self.world.bytes_of(frame)
        request.count, self.waiting = len(request.frames), []
        if self.spec.acks != "none":
            self.outstanding += 1
        self.send(request)

    def forget(self) -> None:
        """Ends with its process, with all that it was to send; it goes on to back off as the next one would."""
        self.waiting, self.returned, self.outstanding = [], [], 0

    def block(self) -> None:
        """Backs off, longer each time, until the leader takes requests."""
        if not self.blocked:
            self.blocked = True
            self.backoff_s = self.spec.retry_backoff_s
            self.world.after(self.backoff_s, self._retry)

    def _retry(self) -> None:
        self._expire()
        if not self.takes():
            self.backoff_s = min(2.0 * self.backoff_s, self.spec.retry_backoff_max_s)
            self.world.after(self.backoff_s, self._retry)
            return
        self.blocked = False
        returned, self.returned = self.returned, []
        for request in returned:
            self.send(Request(request.frames, request.events, count=request.count, bytes=request.bytes))
        self.request()

    def _expire(self) -> None:
        """Gives up frames that have waited for too long."""
        for request in self.returned:
            request.frames = self._fresh(request.frames)
            request.count = len(request.frames)
            request.events = sum(frame.events for frame in request.frames)
            request.bytes = sum(self.world.bytes_of(frame) for frame in request.frames)
        kept = [request for request in self.returned if request.frames]
        self.outstanding -= len(self.returned) - len(kept)
        self.returned = kept
        self.waiting = self._fresh(self.waiting)

    def _fresh(self, frames: list[Frame]) -> list[Frame]:
        """Returns the frames that may still be sent; the others are shed."""
        kept: list[Frame] = []
        for frame in frames:
            if self.world.env.now - frame.hops_s[1] < self.spec.delivery_timeout_s:
                kept.append(frame)
                continue
            frame.outcome = SHED
            for tell in self.world.on_gone:
                tell(frame)
        return kept

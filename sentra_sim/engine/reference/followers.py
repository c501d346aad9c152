"""The followers of a shard: which of them are in sync, and how those that miss something catch up."""

from __future__ import annotations

from collections.abc import Callable

from sentra_sim.engine.reference.request import Request
from sentra_sim.engine.reference.shard import Shard


class Followers:
    """The replicas that follow a shard's leader; `on_caught_up` hears of each that has all again."""

    def __init__(self, shard: Shard, on_caught_up: Callable[[int], None]) -> None:
        self.shard, self.on_caught_up = shard, on_caught_up
        # Replicas that miss something, with the frames, events and bytes they have.
        self.behind: dict[int, tuple[int, int, float]] = {}
        self.catching_up: dict[int, Request] = {}

    def fall_behind(self, number: int) -> None:
        """A replica gets no more of what is appended, nor what is on its way to it."""
        if number in self.catching_up:
            self.catching_up.pop(number).gone = True
        frames, events, size = self.shard.frames, self.shard.events, self.shard.bytes
        for request in self.shard.open:
            if request.appended and number not in request.have:
                request.sent.discard(number)
                frames -= request.count
                events -= request.events
                size -= request.bytes
        self.behind.setdefault(number, (frames, events, size))

    def shrink(self, number: int) -> None:
        """Takes a follower out of the in-sync replicas, unless it is the last one."""
        shard, spec = self.shard, self.shard.spec
        if number not in shard.in_sync or len(shard.in_sync) == 1:
            return
        shard.in_sync.remove(number)
        refused = spec.acks == "all" and len(shard.in_sync) < spec.min_insync_replicas
        for request in list(shard.open):
            if request.gone:
                continue
            if not refused:
                shard.waits_no_more(request, number)
            elif not request.appended or request.needs:
                shard.give_back(request)
        if refused:
            shard.producer.block()

    def check_lag(self) -> None:
        """Takes out followers that have lagged for too long, and back those that have caught up."""
        shard = self.shard
        if not shard.serves() or shard.stopped:
            return
        for number in shard.replicas:
            if number == shard.leader or number in self.behind:
                continue
            if number not in shard.in_sync:
                if self._keeps_up(number):
                    shard.in_sync.add(number)
            elif any(self._is_late(request, number) for request in shard.open):
                self.shrink(number)

    def _keeps_up(self, number: int) -> bool:
        lag_s, at_s = self.shard.last_copy[number]
        longest_s = self.shard.spec.replica_lag_s
        idle = self.shard.world.env.now - at_s > longest_s and not self.shard.brokers[number].jobs.items
        return lag_s <= longest_s or idle

    def _is_late(self, request: Request, number: int) -> bool:
        waited_s = self.shard.world.env.now - request.appended_s
        return request.appended and number not in request.have and waited_s > self.shard.spec.replica_lag_s

    def bring_up(self) -> None:
        """Lets all replicas that the leader reaches catch up."""
        for other in self.shard.replicas:
            if other in self.behind and other not in self.catching_up and self.shard.reaches(other):
                self._catch_up(other)

    def _catch_up(self, number: int) -> None:
        shard = self.shard
        frames, events, size = self.behind[number]
        request = Request(events=shard.events - events, count=shard.frames - frames, bytes=shard.bytes - size)
        self.catching_up[number] = request
        shard.brokers[number].replicate(request, self._caught_up)

    def _caught_up(self, request: Request, number: int) -> None:
        if request.gone:
            return
        del self.catching_up[number], self.behind[number]
        self.shard.in_sync.add(number)
        for waiting in list(self.shard.open):
            if waiting.appended and number not in waiting.sent:
                waiting.have.add(number)
                self.shard.waits_no_more(waiting, number)
        self.on_caught_up(number)

    def stop(self) -> None:
        """Nobody catches up: the leader answers no more."""
        for request in self.catching_up.values():
            request.gone = True
        self.catching_up.clear()

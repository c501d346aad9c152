"""A shard of the log: the partitions whose replicas are the same brokers, which so always have one leader and one state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sentra_sim.engine.reference.request import Request
from sentra_sim.engine.reference.world import Frame
from sentra_sim.engine.trace import LOST, SHED

if TYPE_CHECKING:
    from sentra_sim.engine.reference.fetches import ConsumerFetches
    from sentra_sim.engine.reference.log import LogModel


class Shard:
    """Partitions p congruent to its number: replicas are that broker, which leads them by preference, and those after it."""

    def __init__(self, log: LogModel, number: int) -> None:
        self.log, self.world, self.spec, self.cluster = log, log.world, log.spec, log.cluster
        self.replicas = [(number + step) % self.spec.brokers for step in range(self.spec.replication_factor)]
        self.leader = number  # -1: the partitions are offline
        self.in_sync = set(self.replicas)
        self.waiting: list[Frame] = []
        self.outstanding = 0
        self.blocked = False  # the producer backs off
        self.backoff_s = 0.0
        self.stopped = False  # the leader answers no more
        self.open: dict[Request, None] = {}  # sent, and not yet both acknowledged and on all in-sync replicas
        self.returned: list[Request] = []  # to be sent again
        self.held: list[Request] = []  # to be fetched when there is a leader
        self.unfetched: list[tuple[Request, Frame]] = []  # the same, where fetches wait
        self.frames = self.events = 0  # appended so far
        self.bytes = 0.0
        # Replicas that miss something, with the frames, events and bytes they have.
        self.behind: dict[int, tuple[int, int, float]] = {}
        self.catching_up: dict[int, Request] = {}
        # By replica: how long after its append the last request that it got was there, and when that was.
        self.last_copy: dict[int, tuple[float, float]] = dict.fromkeys(self.replicas, (0.0, 0.0))

    def serves(self) -> bool:
        """Tells whether the leader answers clients."""
        return self.leader in self.cluster.up

    def request(self) -> None:
        """Sends all frames that wait as one request, if the producer may have another outstanding."""
        if not self.waiting or self.blocked or self.outstanding == self.spec.in_flight:
            return
        request = Request()
        for frame in self.waiting:
            request.add(frame)
            request.bytes += self.world.bytes_of(frame)
        request.count, self.waiting = len(request.frames), []
        if self.spec.acks == "none":
            self._stamp_acked(request)
        else:
            self.outstanding += 1
        self._send(request)

    def _send(self, request: Request) -> None:
        self.open[request] = None
        leader = self.log.brokers[self.leader]
        leader.put(leader.append, self, request)

    def appended(self, request: Request) -> None:
        """Sends an appended request to the followers; acknowledges it if none is waited for."""
        if request.gone:
            return
        request.appended, request.appended_s = True, self.world.env.now
        self.frames += request.count
        self.events += request.events
        self.bytes += request.bytes
        if self.world.retention is not None:
            self.world.retention.appended(request)
        request.have.add(self.leader)
        for number in self.replicas:
            if number == self.leader:
                continue
            if number in self.in_sync:
                request.needs.add(number)
            if self.cluster.reach(self.leader, number):
                request.sent.add(number)
                if self.log.replica_fetches is not None:
                    self.log.replica_fetches.offer(number, self, request)
                    continue
                follower = self.log.brokers[number]
                follower.put(follower.replicate, self, request)
        if self.spec.acks == "none":
            self._offer_early(request)
        elif self.spec.acks == "leader" or not request.needs:
            self._answer(request)

    def _answer(self, request: Request) -> None:
        latency_s = self.cluster.latency_s[self.leader]
        if latency_s > 0.0:
            self.world.after(latency_s, self._acked, request)
        else:
            self._acked(request)

    def replicated(self, request: Request, number: int) -> None:
        """Notes that one more follower has a request."""
        if request.gone:
            return
        if not request.catch_up:
            self.last_copy[number] = (self.world.env.now - request.appended_s, self.world.env.now)
        request.have.add(number)
        self._waits_no_more(request, number)

    def _waits_no_more(self, request: Request, number: int) -> None:
        if number not in request.needs:
            return
        request.needs.remove(number)
        if request.needs:
            return
        if request.catch_up:
            self._caught_up(number)
        elif self.spec.acks == "all" and self.log.replica_fetches is not None:
            self._answer(request)
        elif self.spec.acks == "all":
            latency_s = self.cluster.latency_s[self.leader]
            self.log.brokers[self.leader].after_replication(self._acked, request, also_s=latency_s)
        elif request.acked:
            del self.open[request]
            if self.spec.high_watermark:
                self._offer(request)

    def _acked(self, request: Request) -> None:
        if request.gone:
            return
        self._stamp_acked(request)
        self.outstanding -= not request.orphan
        self._offer_early(request)
        self.request()

    def _stamp_acked(self, request: Request) -> None:
        request.acked = True
        self.world.stamp(request.frames, self.spec.hop)
        self.world.lag_events += request.events
        if not request.orphan:
            for tell in self.world.on_acked:
                tell(request.frames)

    def _offer_early(self, request: Request) -> None:
        if not request.needs:
            del self.open[request]
            self._offer(request)
        elif not self.spec.high_watermark:
            self._offer(request)

    def _offer(self, request: Request) -> None:
        if self.log.consumer_fetches is not None:
            self.log.consumer_fetches.offer([(request, frame) for frame in request.frames], self.leader)
            return
        latency_s = self.cluster.latency_s[self.leader]
        self.log.brokers[self.leader].after_fetch(self._fetched, request, also_s=latency_s)

    def _fetched(self, request: Request) -> None:
        if request.lost:
            return
        if self.serves():
            request.fetched = True
            self.log.consumers.available(request)
        else:
            self.held.append(request)

    def stop(self) -> None:
        """The leader answers no more: what it has not acknowledged goes back to the producer."""
        self.stopped = True
        for request in list(self.open):
            request.gone = True
            if not request.acked:
                self._return(request)
        for request in self.catching_up.values():
            request.gone = True
        self.catching_up.clear()
        self.block()

    def _return(self, request: Request) -> None:
        request.gone = True
        del self.open[request]
        if request.orphan:
            for frame in request.frames:
                self.world.let_go(frame)
        else:
            self.returned.append(request)

    def disown(self) -> list[Frame]:
        """The producer has ended, with all that it was to send; returns what the leader has and it has not heard of."""
        self.waiting, self.returned, self.outstanding = [], [], 0
        unheard: list[Frame] = []
        for request in self.open:
            if not request.acked:
                request.orphan = True
                unheard += request.frames
        return unheard

    def block(self) -> None:
        """Lets the producer back off, longer each time, until the leader takes its requests."""
        if not self.blocked:
            self.blocked = True
            self.backoff_s = self.spec.retry_backoff_s
            self.world.after(self.backoff_s, self._retry)

    def _retry(self) -> None:
        self._expire()
        enough = self.spec.acks != "all" or len(self.in_sync) >= self.spec.min_insync_replicas
        if not (self.serves() and not self.stopped and enough):
            self.backoff_s = min(2.0 * self.backoff_s, self.spec.retry_backoff_max_s)
            self.world.after(self.backoff_s, self._retry)
            return
        self.blocked = False
        returned, self.returned = self.returned, []
        for request in returned:
            self._send(Request(request.frames, request.events, count=request.count, bytes=request.bytes))
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

    def lose(self, number: int, *, serves: bool) -> None:
        """A replica is cut off from the others; one that does not serve clients either takes its requests along."""
        if self.leader != number:
            self._fall_behind(number)
        elif serves:
            for other in self.replicas:
                if other != number:
                    self._fall_behind(other)
        else:
            self._fall_behind(number)
            self.stop()

    def _fall_behind(self, number: int) -> None:
        if number in self.catching_up:
            self.catching_up.pop(number).gone = True
        frames, events, size = self.frames, self.events, self.bytes
        for request in self.open:
            if request.appended and number not in request.have:
                request.sent.discard(number)
                frames -= request.count
                events -= request.events
                size -= request.bytes
        self.behind.setdefault(number, (frames, events, size))

    def fence(self, number: int) -> None:
        """The controller takes a replica for dead: another one leads, or it is in sync no more."""
        if self.leader != number:
            self.shrink(number)
            return
        self.stop()
        self.elect(self._candidate())
        if self.leader >= 0:
            self.in_sync.discard(number)

    def shrink(self, number: int) -> None:
        """Takes a follower out of the in-sync replicas, unless it is the last one."""
        if number not in self.in_sync or len(self.in_sync) == 1:
            return
        self.in_sync.remove(number)
        refused = self.spec.acks == "all" and len(self.in_sync) < self.spec.min_insync_replicas
        for request in list(self.open):
            if request.gone:
                continue
            if not refused:
                self._waits_no_more(request, number)
            elif not request.appended or request.needs:
                self._return(request)
        if refused:
            self.block()

    def _candidate(self) -> int:
        alive = [number for number in self.replicas if number in self.cluster.talking]
        in_sync = [number for number in alive if number in self.in_sync]
        if in_sync:
            return in_sync[0]
        return alive[0] if alive and self.spec.unclean_election else -1

    def elect(self, number: int) -> None:
        """Makes a replica the leader; what was acknowledged and it does not have is lost, what it has counts as committed."""
        self.leader = number
        if number < 0:
            return
        self.stopped = False
        clean = number in self.in_sync
        if not clean:
            self.in_sync = {number}
        self.behind.pop(number, None)
        for request in self.open:
            if number not in request.have:
                self._lose(request)
            elif self.spec.high_watermark:
                self._offer(request)
        self.open.clear()
        held, self.held = self.held, []
        for request in held:
            if not clean and number not in request.have:
                self._lose(request)
            elif not request.lost:
                self._offer(request)
        if self.log.consumer_fetches is not None:
            self._offer_again(self.log.consumer_fetches, clean=clean)
        self._bring_up_others()

    def _offer_again(self, fetches: ConsumerFetches, *, clean: bool) -> None:
        """Lets what no leader was there for be fetched from the new one, unless that does not have it."""
        unfetched, self.unfetched = self.unfetched, []
        for request, _ in unfetched:
            if not clean and self.leader not in request.have and not request.lost:
                self._lose(request)
        fetches.offer([(request, frame) for request, frame in unfetched if frame.outcome != LOST], self.leader)

    def _lose(self, request: Request) -> None:
        request.lost = True
        if not request.fetched:
            for frame in request.frames:
                if not frame.fetched:
                    self.world.lag_events -= frame.events
                    frame.outcome = LOST

    def rejoin(self, number: int) -> None:
        """A replica reaches the others again."""
        if self.leader < 0:
            self.elect(self._candidate())
        elif self.leader == number and self.stopped:
            self.elect(number)
        else:
            self._bring_up_others()

    def _bring_up_others(self) -> None:
        for other in self.replicas:
            if other in self.behind and other not in self.catching_up and self.cluster.reach(self.leader, other):
                self._catch_up(other)

    def _catch_up(self, number: int) -> None:
        frames, events, size = self.behind[number]
        request = Request(events=self.events - events, count=self.frames - frames, catch_up=True, needs={number})
        request.bytes = self.bytes - size
        self.catching_up[number] = request
        follower = self.log.brokers[number]
        follower.put(follower.replicate, self, request)

    def _caught_up(self, number: int) -> None:
        del self.catching_up[number], self.behind[number]
        self.in_sync.add(number)
        for request in list(self.open):
            if request.appended and number not in request.sent:
                request.have.add(number)
                self._waits_no_more(request, number)
        if number == self.replicas[0] and number != self.leader:
            self.world.after(self.spec.preferred_election_s, self._prefer)

    def _prefer(self) -> None:
        """Gives the leadership back to the first replica."""
        first = self.replicas[0]
        if first == self.leader or first not in self.in_sync or not self.cluster.reach(self.leader, first):
            return
        self.stop()
        self.elect(first)

"""A shard of the log: the partitions whose replicas are the same brokers, which so always have one leader and one state."""

from __future__ import annotations

from dataclasses import dataclass

from sentra_sim.engine.reference.broker import Broker
from sentra_sim.engine.reference.consumers import ConsumerModel
from sentra_sim.engine.reference.fetches import ConsumerFetches
from sentra_sim.engine.reference.producer import Producer
from sentra_sim.engine.reference.pulls import ReplicaFetches
from sentra_sim.engine.reference.request import Request
from sentra_sim.engine.reference.world import Frame, World
from sentra_sim.engine.trace import LOST
from sentra_sim.scenario import Log


@dataclass(frozen=True)
class Neighbours:
    """Who all shards deal with. Without fetches of its own, a follower is sent requests, and a consumer never waits for more."""

    brokers: list[Broker]
    consumers: ConsumerModel
    replica_fetches: ReplicaFetches | None
    consumer_fetches: ConsumerFetches | None


class Shard:
    """Partitions p congruent to its number: replicas are that broker, which leads them by preference, and those after it.

    Here is what becomes of its requests: appended, on all in-sync replicas, acknowledged, fetched.
    """

    def __init__(self, world: World, spec: Log, around: Neighbours, number: int) -> None:
        self.world, self.spec, self.around, self.brokers = world, spec, around, around.brokers
        self.producer = Producer(world, spec, self._send, self._takes)
        self.replicas = [(number + step) % spec.brokers for step in range(spec.replication_factor)]
        self.leader = number  # -1: the partitions are offline
        self.in_sync = set(self.replicas)
        self.stopped = False  # the leader answers no more
        self.open: dict[Request, None] = {}  # sent, and not yet both acknowledged and on all in-sync replicas
        self.held: list[Request] = []  # to be fetched when there is a leader
        self.unfetched: list[tuple[Request, Frame]] = []  # the same, where fetches wait
        self.frames = self.events = 0  # appended so far
        self.bytes = 0.0
        # By replica: how long after its append the last request that it got was there, and when that was.
        self.last_copy: dict[int, tuple[float, float]] = dict.fromkeys(self.replicas, (0.0, 0.0))

    def serves(self) -> bool:
        """Tells whether the leader answers clients."""
        return self.leader >= 0 and self.brokers[self.leader].up

    def reaches(self, number: int) -> bool:
        """Tells whether the leader and another replica reach each other."""
        return self.leader >= 0 and self.brokers[self.leader].talking and self.brokers[number].talking

    def _takes(self) -> bool:
        enough = self.spec.acks != "all" or len(self.in_sync) >= self.spec.min_insync_replicas
        return self.serves() and not self.stopped and enough

    def _send(self, request: Request) -> None:
        if self.spec.acks == "none":
            self._stamp_acked(request)
        self.open[request] = None
        self.brokers[self.leader].append(request, self._appended)

    def _appended(self, request: Request) -> None:
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
            if self.reaches(number):
                request.sent.add(number)
                if self.around.replica_fetches is not None:
                    self.around.replica_fetches.offer(number, self.leader, request, self._replicated)
                else:
                    self.brokers[number].replicate(request, self._replicated)
        if self.spec.acks == "none":
            self._offer_early(request)
        elif self.spec.acks == "leader" or not request.needs:
            self._answer(request)

    def _answer(self, request: Request) -> None:
        latency_s = self.brokers[self.leader].latency_s
        if latency_s > 0.0:
            self.world.after(latency_s, self._acked, request)
        else:
            self._acked(request)

    def _replicated(self, request: Request, number: int) -> None:
        """Notes that one more follower has a request."""
        if request.gone:
            return
        self.last_copy[number] = (self.world.env.now - request.appended_s, self.world.env.now)
        request.have.add(number)
        self.waits_no_more(request, number)

    def waits_no_more(self, request: Request, number: int) -> None:
        """Notes that a follower has a request or is in sync no more; acknowledges the request if it was the last one."""
        if number not in request.needs:
            return
        request.needs.remove(number)
        if request.needs:
            return
        if self.spec.acks == "all" and self.around.replica_fetches is not None:
            self._answer(request)
        elif self.spec.acks == "all":
            leader = self.brokers[self.leader]
            leader.after_replication(self._acked, request, also_s=leader.latency_s)
        elif request.acked:
            del self.open[request]
            if self.spec.high_watermark:
                self.offer(request)

    def _acked(self, request: Request) -> None:
        if request.gone:
            return
        self._stamp_acked(request)
        self.producer.outstanding -= not request.orphan
        self._offer_early(request)
        self.producer.request()

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
            self.offer(request)
        elif not self.spec.high_watermark:
            self.offer(request)

    def offer(self, request: Request) -> None:
        """Lets the consumers fetch a request."""
        if self.around.consumer_fetches is not None:
            self.around.consumer_fetches.offer([(request, frame) for frame in request.frames], self.leader)
            return
        leader = self.brokers[self.leader]
        leader.after_fetch(self._fetched, request, also_s=leader.latency_s)

    def _fetched(self, request: Request) -> None:
        if request.lost:
            return
        if self.serves():
            request.fetched = True
            self.around.consumers.available(request)
        else:
            self.held.append(request)

    def come(self, request: Request, frame: Frame) -> None:
        """A fetch that has waited brings a frame to its consumer."""
        if frame.outcome == LOST:
            return
        if self.serves():
            frame.fetched = True
            self.around.consumers.offer(frame)
        else:
            self.unfetched.append((request, frame))

    def stop(self) -> None:
        """The leader answers no more: what it has not acknowledged goes back to the producer."""
        self.stopped = True
        for request in list(self.open):
            request.gone = True
            if not request.acked:
                self.give_back(request)
        self.producer.block()

    def give_back(self, request: Request) -> None:
        """Lets the producer send a request again."""
        request.gone = True
        del self.open[request]
        if request.orphan:
            for frame in request.frames:
                self.world.let_go(frame)
        else:
            self.producer.returned.append(request)

    def disown(self) -> list[Frame]:
        """The producer has ended, with all that it was to send; returns what the leader has and it has not heard of."""
        self.producer.forget()
        unheard: list[Frame] = []
        for request in self.open:
            if not request.acked:
                request.orphan = True
                unheard += request.frames
        return unheard

    def lose(self, request: Request) -> None:
        """A request is on no replica any more: what consumers have not fetched of it is lost."""
        request.lost = True
        if not request.fetched:
            for frame in request.frames:
                if not frame.fetched:
                    self.world.lag_events -= frame.events
                    frame.outcome = LOST

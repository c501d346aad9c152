"""The reference engine: the model of a pipeline in plain SimPy, written to be read.

Every station is a set of threads; a thread is a SimPy process that takes a job from its queue, runs it on its host (which makes
it wait for a core, see `reference_hosts.py`) and goes on with what the station does next. Pure delays occupy no core. The
compiled engine repeats this model event by event and is held equal to it by tests.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Generator
from typing import Any

import simpy

from sentra_sim.engine.plan import Plan, background_owners, background_purpose, broker_name, replica_name
from sentra_sim.engine.reference_hosts import Draws, Thread
from sentra_sim.engine.reference_world import Batch, Frame, World
from sentra_sim.engine.trace import SAME_MOMENT_S, Trace
from sentra_sim.scenario import Batcher, Broadcast, ConsumerGroup, Log, Pool, Source, Store, only
from sentra_sim.scenario.schema import Background

Process = Generator[simpy.Event, Any, None]


def run_reference(plan: Plan) -> Trace:
    """Plays a plan with the reference engine."""
    world = World(plan)
    batcher = BatcherModel(world, LogModel(world, ConsumerModel(world)))
    world.env.process(source(world, batcher))
    start_backgrounds(world)
    return world.run()


def source(world: World, batcher: BatcherModel) -> Process:
    """The load generator's thread: sends each message when it is due, or as soon as the one before is sent."""
    name, spec = only(world.scenario, Source)
    thread = world.thread(world.process[name], low=spec.low_priority)
    send = world.work(name, "send", spec.send)
    network = world.delay(batcher.name, "network", batcher.spec.network)
    first_event = world.plan.first_event.tolist()
    for message, due_s in enumerate(world.plan.offered.send_s.tolist()):
        wait_s = due_s - world.env.now
        if wait_s > 0.0:
            yield world.env.timeout(wait_s)
        yield thread.run(send, 1, first_event[message + 1] - first_event[message])
        network(batcher.arrive, range(first_event[message], first_event[message + 1]))


class BatcherModel:
    """One thread that receives messages, fills the open frame of each partition, and sends closed frames to the log."""

    def __init__(self, world: World, log: LogModel) -> None:
        self.world, self.log = world, log
        self.name, self.spec = only(world.scenario, Batcher)
        self.jobs = simpy.Store(world.env)
        self.open: list[Frame | None] = [None] * log.spec.partitions
        self.partition: list[int] = world.plan.partition.tolist()
        self.timer_set = False
        self.lateness = Draws(world.plan.multipliers[self.name, "timer"])
        world.env.process(self._serve())

    def arrive(self, message: range) -> None:
        """Takes a message (the range of its events) from the network."""
        self.jobs.put(message)

    def _serve(self) -> Process:
        thread = self.world.thread(self.world.process[self.name], low=self.spec.low_priority)
        receive = self.world.work(self.name, "receive", self.spec.receive)
        close = self.world.work(self.name, "close", self.spec.close)
        while True:
            job = yield self.jobs.get()
            if isinstance(job, Batch):
                yield thread.run(close, len(job.frames), job.events)
                self.log.produce(job)
            else:
                yield thread.run(receive, 1, len(job))
                self._buffer(job)

    def _buffer(self, message: range) -> None:
        full = Batch()
        for event in message:
            frame = self.open[self.partition[event]] or self._open(self.partition[event])
            self.world.event_frame[event] = frame.number
            frame.events += 1
            if frame.events == self.spec.max_events:
                self._close(frame, full)
        self._send(full)

    def _open(self, partition: int) -> Frame:
        world = self.world
        frame = Frame(len(world.frames), partition, [math.nan] * len(world.hop))
        world.frames.append(frame)
        world.stamp([frame], self.spec.hops[0])
        self.open[partition] = frame
        if not self.timer_set:
            self._set_timer(self.spec.linger_s)
        return frame

    def _set_timer(self, wait_s: float) -> None:
        self.timer_set = True
        self.world.after(wait_s + self.spec.timer.mean_s * self.lateness.next(), self._tick)

    def _tick(self) -> None:
        """Closes the frames whose linger is over and sets the timer to the next end of a linger."""
        due, received, now_s = Batch(), self.world.hop[self.spec.hops[0]], self.world.env.now
        self.timer_set = False
        for frame in self.open:
            if frame is not None and frame.hops_s[received] + self.spec.linger_s <= now_s + SAME_MOMENT_S:
                self._close(frame, due)
        self._send(due)
        first_s = min((frame.hops_s[received] for frame in self.open if frame is not None), default=math.inf)
        if first_s < math.inf:
            self._set_timer(first_s + self.spec.linger_s - now_s)

    def _close(self, frame: Frame, closing: Batch) -> None:
        self.open[frame.partition] = None
        self.world.stamp([frame], self.spec.hops[1])
        closing.add(frame)

    def _send(self, closed: Batch) -> None:
        if closed.frames:
            self.jobs.put(closed)


class LogModel:
    """Brokers, each the leader of its partitions and a follower of others, and one produce queue for each leader."""

    def __init__(self, world: World, consumers: ConsumerModel) -> None:
        self.world, self.consumers = world, consumers
        self.name, self.spec = only(world.scenario, Log)
        self.brokers = [Broker(self, number) for number in range(self.spec.brokers)]

    def produce(self, closed: Batch) -> None:
        """Queues frames for their leaders; those of one leader go with one request."""
        for frame in closed.frames:
            self.brokers[frame.partition % self.spec.brokers].waiting.append(frame)
        for broker in self.brokers:
            broker.request()


class Broker:
    """One broker: its threads, the frames that wait to be sent to it, its outstanding requests."""

    def __init__(self, log: LogModel, number: int) -> None:
        self.log, self.number, self.world = log, number, log.world
        self.waiting: list[Frame] = []
        self.outstanding = 0
        owner, spec, world = broker_name(log.name, number), log.spec, log.world
        self.append = world.work(owner, "append", spec.append)
        self.replicate = world.work(owner, "replicate", spec.replicate)
        self.after_replication = world.delay(owner, "replication", spec.replication)
        self.after_fetch = world.delay(owner, "fetch", spec.fetch)
        self.jobs = simpy.Store(world.env)
        for _ in range(spec.threads):
            world.env.process(self._serve())

    def request(self) -> None:
        """Sends all frames that wait as one request, if it may have another outstanding."""
        if not self.waiting or self.outstanding == self.log.spec.in_flight:
            return
        self.outstanding += 1
        request = Batch()
        for frame in self.waiting:
            request.add(frame)
        self.waiting = []
        self.jobs.put((self, request))

    def _serve(self) -> Process:
        """A thread appends the requests that this broker leads and replicates those of others."""
        process = self.world.process[f"{self.log.name}-{self.number + 1}"]
        thread = self.world.thread(process, low=self.log.spec.low_priority)
        while True:
            leader, request = yield self.jobs.get()
            work = self.append if leader is self else self.replicate
            yield thread.run(work, len(request.frames), request.events)
            if leader is self:
                self._appended(request)
            else:
                leader.replicated(request)

    def _appended(self, request: Batch) -> None:
        brokers, spec = self.log.brokers, self.log.spec
        request.missing = spec.replication_factor - 1
        for step in range(1, spec.replication_factor):
            brokers[(self.number + step) % spec.brokers].jobs.put((self, request))
        if spec.acks == "leader" or spec.replication_factor == 1:
            self._acked(request)

    def replicated(self, request: Batch) -> None:
        """Notes that one more follower has a request that this broker leads."""
        request.missing -= 1
        if request.missing == 0 and self.log.spec.acks == "all":
            self.after_replication(self._acked, request)

    def _acked(self, request: Batch) -> None:
        self.world.stamp(request.frames, self.log.spec.hop)
        self.outstanding -= 1
        self.after_fetch(self.log.consumers.available, request)
        self.request()


class ConsumerModel:
    """The consumer group: replica r polls the partitions congruent to r, works, and calls the stations one after another."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.name, self.spec = only(world.scenario, ConsumerGroup)
        self.called = [make_served(world, name, called=True) for name in self.spec.calls]
        self.ready: list[deque[Frame]] = [deque() for _ in range(self.spec.replicas)]
        self.wake: list[simpy.Event | None] = [None] * self.spec.replicas
        for number in range(self.spec.replicas):
            world.env.process(self._poll_loop(number))

    def available(self, request: Batch) -> None:
        """Offers the frames of an acknowledged request to the replicas that own them."""
        for frame in request.frames:
            number = frame.partition % self.spec.replicas
            self.ready[number].append(frame)
            wake, self.wake[number] = self.wake[number], None
            if wake is not None:
                wake.succeed()

    def _poll_loop(self, number: int) -> Process:
        world, spec = self.world, self.spec
        thread = world.thread(world.process[self.name], low=spec.low_priority)
        fetch = world.work(replica_name(self.name, number), "fetch", spec.fetch)
        process = world.work(replica_name(self.name, number), "process", spec.process)
        finish = world.work(replica_name(self.name, number), "finish", spec.finish)
        while True:
            if not self.ready[number]:
                self.wake[number] = wake = world.env.event()
                yield wake
                if spec.gather_s > 0.0:
                    yield world.env.timeout(spec.gather_s)
            poll = self._take(self.ready[number])
            yield thread.run(fetch, len(poll.frames), poll.events)
            world.stamp(poll.frames, spec.hop)
            yield thread.run(process, len(poll.frames), poll.events)
            for station in self.called:
                poll.reply = world.env.event()
                station.offer(poll)
                yield poll.reply
            yield thread.run(finish, len(poll.frames), poll.events)

    def _take(self, ready: deque[Frame]) -> Batch:
        poll = Batch()
        while ready and (not poll.frames or poll.events + ready[0].events <= self.spec.max_poll_events):
            frame = ready.popleft()
            frame.poll = self.world.polls
            poll.add(frame)
        self.world.polls += 1
        return poll


class ServedModel:
    """A pool, or a store that writes polls as they come: a queue and `threads` threads; polls are visible after `delay`."""

    def __init__(self, world: World, name: str, spec: Pool | Store, *, called: bool) -> None:
        self.world, self.name, self.spec, self.called = world, name, spec, called
        self.work = world.work(name, "demand", spec.demand)
        self.after_delay = world.delay(name, "delay", spec.delay)
        self.next = [make_served(world, successor, called=False) for successor in spec.to]
        self.jobs = simpy.Store(world.env)
        self.start()

    def start(self) -> None:
        """Starts the station's threads."""
        for _ in range(self.spec.threads):
            self.world.env.process(self._serve())

    def offer(self, poll: Batch) -> None:
        """Queues a poll."""
        self.jobs.put(poll)

    def thread(self) -> Thread:
        """Returns a new thread of the station."""
        return self.world.thread(self.world.process[self.name], low=self.spec.low_priority)

    def visible(self, poll: Batch) -> None:
        """Stamps a poll, hands it on, and tells the consumer if that waits."""
        self.world.stamp(poll.frames, self.spec.hop)
        for station in self.next:
            station.offer(poll)
        if self.called and poll.reply is not None:
            poll.reply.succeed()

    def _serve(self) -> Process:
        thread = self.thread()
        while True:
            poll = yield self.jobs.get()
            yield thread.run(self.work, len(poll.frames), poll.events)
            self.after_delay(self.visible, poll)


class FlushingModel(ServedModel):
    """A store whose one writer takes all gathered polls as one job, `flush_s` after it last started one at the earliest.

    The first job starts `flush_s` after the first poll came.
    """

    def start(self) -> None:
        """Starts the writer."""
        self.gathered: list[Batch] = []
        self.wake: simpy.Event | None = None
        self.world.env.process(self._write())

    def offer(self, poll: Batch) -> None:
        """Keeps a poll for the next write."""
        self.gathered.append(poll)
        wake, self.wake = self.wake, None
        if wake is not None:
            wake.succeed()

    def _write(self) -> Process:
        assert isinstance(self.spec, Store)
        env, thread = self.world.env, self.thread()
        last_start_s: float | None = None
        while True:
            if not self.gathered:
                self.wake = wake = env.event()
                yield wake
            if last_start_s is None:
                last_start_s = env.now
            wait_s = last_start_s + self.spec.flush_s - env.now
            if wait_s > 0.0:
                yield env.timeout(wait_s)
            last_start_s = env.now
            polls, self.gathered = self.gathered, []
            frames, events = sum(len(poll.frames) for poll in polls), sum(poll.events for poll in polls)
            yield thread.run(self.work, frames, events)
            self.after_delay(self._all_visible, polls)

    def _all_visible(self, polls: list[Batch]) -> None:
        for poll in polls:
            self.visible(poll)


class BroadcastModel:
    """An edge that sends each poll over the network to a subscriber, each with one thread."""

    def __init__(self, world: World, name: str, spec: Broadcast) -> None:
        self.world, self.name, self.spec = world, name, spec
        self.after_handover = world.delay(name, "handover", spec.handover)
        self.after_network = world.delay(name, "network", spec.network)
        self.jobs = simpy.Store(world.env)
        self.received = simpy.Store(world.env)
        world.env.process(self._send())
        world.env.process(self._receive())

    def offer(self, poll: Batch) -> None:
        """Takes a poll over, to queue it for sending."""
        self.after_handover(self.jobs.put, poll)

    def _send(self) -> Process:
        world = self.world
        thread = world.thread(world.process[self.name], low=self.spec.low_priority)
        send = world.work(self.name, "send", self.spec.send)
        while True:
            poll = yield self.jobs.get()
            yield thread.run(send, len(poll.frames), poll.events)
            world.stamp(poll.frames, self.spec.hops[0])
            self.after_network(self.received.put, poll)

    def _receive(self) -> Process:
        world = self.world
        thread = world.thread(world.process[self.name] + 1, low=self.spec.low_priority)
        receive = world.work(self.name, "receive", self.spec.receive)
        while True:
            poll = yield self.received.get()
            yield thread.run(receive, len(poll.frames), poll.events)
            world.stamp(poll.frames, self.spec.hops[1])


def make_served(world: World, name: str, *, called: bool) -> ServedModel | BroadcastModel:
    """Returns the model of a station behind the consumers, with all stations behind it."""
    spec = world.scenario.stations[name]
    if isinstance(spec, Broadcast):
        return BroadcastModel(world, name, spec)
    assert isinstance(spec, Pool | Store)  # held by check_topology
    kind = FlushingModel if isinstance(spec, Store) and spec.flush_s > 0.0 else ServedModel
    return kind(world, name, spec, called=called)


def start_backgrounds(world: World) -> None:
    """Starts the background jobs of all stations, each on a thread of its own."""
    for name, spec in world.scenario.stations.items():
        for owned, owner in enumerate(background_owners(name, spec)):
            process = world.process[f"{name}-{owned + 1}" if isinstance(spec, Log) else name]
            for number, job in enumerate(spec.background):
                thread = world.thread(process, low=spec.low_priority)
                world.env.process(background(world, (owner, background_purpose(number)), job, thread))


def background(world: World, key: tuple[str, str], job: Background, thread: Thread) -> Process:
    """Runs a job every `every_s`, or as soon as the one before is done, until the load stops."""
    work = world.work(*key, job.demand)
    due_s = job.every_s * world.plan.phase[key]
    while True:
        wait_s = due_s - world.env.now
        if wait_s > 0.0:
            yield world.env.timeout(wait_s)
        if world.env.now >= world.plan.seconds:
            return
        yield thread.run(work, 0, 0)
        due_s += job.every_s

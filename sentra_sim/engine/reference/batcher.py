"""The batcher: messages in, frames out."""

from __future__ import annotations

import math

import simpy

from sentra_sim.engine.reference.admission import Tracking
from sentra_sim.engine.reference.gateway import Gateway
from sentra_sim.engine.reference.hosts import Draws
from sentra_sim.engine.reference.log import LogModel
from sentra_sim.engine.reference.weights import make_scales
from sentra_sim.engine.reference.world import Batch, Frame, Process, World
from sentra_sim.engine.trace import EVENT_SHED, SAME_MOMENT_S
from sentra_sim.scenario import Batcher, only


class BatcherModel:
    """One thread that receives messages, fills the open frame of each partition, and sends closed frames to the log."""

    def __init__(self, world: World, log: LogModel, tracking: Tracking | None) -> None:
        self.world, self.log, self.tracking = world, log, tracking
        self.name, self.spec = only(world.scenario, Batcher)
        self.jobs = simpy.Store(world.env)
        self.thread = world.thread(world.process[self.name], low=self.spec.low_priority)
        self.receive = world.work(self.name, "receive", self.spec.receive)
        self.close = world.work(self.name, "close", self.spec.close)
        self.gateway: Gateway | None = None
        self.open: list[Frame | None] = [None] * log.spec.partitions
        self.partition: list[int] = world.plan.partition.tolist()
        self.notes = bool(world.place) or world.poison.may_be
        self.timer_set = False
        self.lateness = Draws(world.plan.multipliers[self.name, "timer"])
        self.scales = make_scales(world)
        world.weighs = self.scales is not None
        if self.spec.recovery is not None and tracking is not None:
            self.gateway = Gateway(self, self.spec.recovery, tracking)
        world.env.process(self._serve(self.jobs))

    def arrive(self, message: range) -> None:
        """Takes a message (the range of its events) from the network."""
        if self.gateway is None or self.gateway.lets_in(message):
            self.jobs.put(message)

    def renew(self) -> None:
        """Makes a new process of it that has no job and no open frame; the last one's timer is the new one's."""
        self.thread.cancel()
        self.jobs = simpy.Store(self.world.env)
        self.open = [None] * len(self.open)
        self.world.env.process(self._serve(self.jobs))

    def close_all(self) -> None:
        """Closes all open frames, by partition."""
        closing = Batch()
        for frame in self.open:
            if frame is not None:
                self._close(frame, closing)
        self._send(closing)

    def _serve(self, jobs: simpy.Store) -> Process:
        thread = self.thread
        while True:
            job = yield jobs.get()
            if jobs is not self.jobs:  # its process has been killed
                return
            if isinstance(job, Batch):
                yield thread.run(self.close, len(job.frames), job.events)
                self.log.produce(job)
            else:
                yield thread.run(self.receive, 1, len(job))
                if self.tracking is None:
                    self._buffer(job)
                else:
                    self._buffer_tracked(job, self.tracking)

    def _buffer(self, message: range) -> None:
        full = Batch()
        for event in message:
            frame = self._frame_for(self.partition[event], full)
            self.world.event_frame[event] = frame.number
            frame.events += 1
            if self.notes:
                self._note(frame, event)
            if frame.events == self.spec.max_events or self._is_heavy(frame):
                self._close(frame, full)
        self._send(full)

    def _buffer_tracked(self, message: range, tracking: Tracking) -> None:
        """Does the same with what is admitted; an event that a frame has taken already is a repeat."""
        full, refused, taken_by = Batch(), False, self.world.event_frame
        for event in message:
            if not tracking.admit(event):
                refused = True
                if taken_by[event] < 0:
                    taken_by[event] = EVENT_SHED
                continue
            frame = self._frame_for(self.partition[event], full)
            fresh = bool(taken_by[event] < 0)
            if fresh:
                taken_by[event] = frame.number
                if self.notes:
                    self._note(frame, event)
            frame.copies.append((event, fresh))
            frame.repeats += not fresh
            frame.events += 1
            if frame.events == self.spec.max_events or self._is_heavy(frame):
                self._close(frame, full)
        self._send(full)
        if refused:
            tracking.refused(message.start)
        if self.gateway is not None:
            self.gateway.buffered()

    def _note(self, frame: Frame, event: int) -> None:
        """Notes of an event what its frame tells others: that it is poison or, as then no pool will see it, its key."""
        if self.world.poison.spoils(event):
            frame.bad += 1
        elif self.world.place:
            frame.members.append(event)

    def _frame_for(self, partition: int, full: Batch) -> Frame:
        """Returns the frame that takes the next event of a partition; one that has no room for it is closed."""
        frame, scales = self.open[partition], self.scales
        if scales is None:
            return frame or self._open(partition)
        size = scales.next(frame)
        if frame is not None and frame.bytes + size > scales.limit:
            self._close(frame, full)
            frame = None
            if scales.spec is not None and scales.spec.per == "frame":
                size = scales.next(None)
        frame = frame or self._open(partition)
        frame.bytes += size
        frame.size = size
        return frame

    def _is_heavy(self, frame: Frame) -> bool:
        return self.scales is not None and frame.bytes >= self.scales.limit

    def _open(self, partition: int) -> Frame:
        world = self.world
        frame = Frame(len(world.frames), partition, [math.nan] * len(world.hop))
        world.frames.append(frame)
        world.stamp([frame], self.spec.hops[0])
        self.open[partition] = frame
        if self.gateway is not None:
            self.gateway.frames[frame] = None
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

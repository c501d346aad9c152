"""Stores that do more than serve a queue: what they share, and the one that gathers polls and flushes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import simpy

from sentra_sim.engine.reference.hosts import Thread
from sentra_sim.engine.reference.world import Batch, Process, World
from sentra_sim.scenario import Store


class Successor(Protocol):
    """A station that a poll is handed to."""

    def offer(self, poll: Batch) -> None:
        """Takes a poll."""


class StoreModel:
    """A store: its work, its delay, who comes after it."""

    def __init__(self, world: World, name: str, spec: Store, successors: Sequence[Successor], *, called: bool) -> None:
        self.world, self.name, self.spec, self.called = world, name, spec, called
        self.work = world.work(name, "demand", spec.demand)
        self.after_delay = world.delay(name, "delay", spec.delay)
        self.next = successors
        self.start()

    def start(self) -> None:
        """Starts what the store does."""
        raise NotImplementedError

    def offer(self, poll: Batch) -> None:
        """Takes a poll."""
        raise NotImplementedError

    def thread(self) -> Thread:
        """Returns a new thread of the store."""
        return self.world.thread(self.world.process[self.name], low=self.spec.low_priority)

    def hand_on(self, poll: Batch) -> None:
        """Stamps a poll that has become visible and hands it on, unless the call has failed."""
        if not self.world.fails(self.name, poll):
            self.world.stamp(poll.frames, self.spec.hop)
            for station in self.next:
                station.offer(poll)

    def reply(self, poll: Batch) -> None:
        """Tells the consumer if that waits."""
        if self.called and poll.reply is not None:
            poll.reply.succeed()


class FlushingModel(StoreModel):
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
            self.hand_on(poll)
            self.reply(poll)

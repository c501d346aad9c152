"""The relay of a store's outbox."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

from sentra_sim.engine.reference.stores import Successor
from sentra_sim.engine.reference.world import Batch, World
from sentra_sim.scenario.schema import Relay, Store


class RelayModel:
    """A loop that takes committed polls from the outbox and hands them on.

    Its looks at an empty outbox cost nothing and are left out: a poll that comes finds the time of the next one.
    """

    def __init__(self, world: World, name: str, store: Store, spec: Relay, successors: Sequence[Successor]) -> None:
        self.world, self.spec, self.next = world, spec, successors
        self.thread = world.thread(world.process[name], low=store.low_priority)
        self.work = world.work(name, "relay", spec.demand)
        self.outbox: deque[Batch] = deque()
        self.looked_s = 0.0  # when it last found nothing
        self.asleep = True
        self.store_up = True
        self.relayed = 0.0

    def put(self, poll: Batch) -> None:
        """Takes a committed poll into the outbox."""
        self.outbox.append(poll)
        if self.asleep:
            self.wake()

    def wake(self) -> None:
        """Finds the time at which a relay that sleeps looks again."""
        self.asleep = False
        now_s = self.world.env.now
        if self.spec.notify:
            self.look()
            return
        looks = math.ceil((now_s - self.looked_s) / self.spec.poll_s)
        self.world.after(max(0.0, self.looked_s + looks * self.spec.poll_s - now_s), self.look)

    def look(self) -> None:
        """Takes what a batch holds, or sleeps."""
        if not self.outbox or not self.store_up:
            self.asleep = True
            self.looked_s = self.world.env.now
            return
        taken = Batch()
        polls: list[Batch] = []
        while self.outbox and (not polls or taken.events + self.outbox[0].events <= self.spec.batch_events):
            poll = self.outbox.popleft()
            polls.append(poll)
            taken.frames.extend(poll.frames)
            taken.events += poll.events
        done = self.thread.run(self.work, len(taken.frames), taken.events)
        done.callbacks.append(lambda _: self._hand_on(polls))

    def _hand_on(self, polls: list[Batch]) -> None:
        for poll in polls:
            self.relayed += 1.0
            for station in self.next:
                station.offer(poll)
        self.look()

    def stop(self) -> None:
        """The store is down."""
        self.store_up = False

    def resume(self) -> None:
        """The store serves again."""
        self.store_up = True
        if self.asleep and self.outbox:
            self.wake()

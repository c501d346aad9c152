"""Impatient clients: what is not acknowledged in time, or is refused, they send again."""

from __future__ import annotations

from collections.abc import Callable

import simpy

from sentra_sim.engine.reference.world import Process, World
from sentra_sim.scenario import Source, only
from sentra_sim.scenario.schema import ClientRetry

NOT_WAITING = 0


class Clients:
    """The clients' side of every message: how often it was sent, and which sending's acknowledgement is waited for."""

    def __init__(self, world: World, name: str, spec: Source, retry: ClientRetry) -> None:
        self.world, self.retry = world, retry
        self.first_event = world.plan.first_event.tolist()
        self.message: list[int] = world.plan.offered.message.tolist()
        messages = len(world.plan.offered.send_s)
        self.sends = world.sends = [0] * messages
        self.waits_for = [NOT_WAITING] * messages
        self.missing = [self.first_event[number + 1] - self.first_event[number] for number in range(messages)]
        self.tokens = retry.budget_burst
        self.jobs = simpy.Store(world.env)
        self.thread = world.thread(world.process[name], low=spec.low_priority)
        self.work = world.work(name, "resend", spec.send)
        self.backoff = world.delay(name, "backoff", retry.backoff)
        self.unheard: set[int] = set()  # events of whose first copies no acknowledgement comes

    def sent(self, message: int) -> None:
        """Begins to wait for a message's acknowledgement."""
        self.sends[message] += 1
        if self.sends[message] == 1 and self.retry.budget_ratio is not None:
            self.tokens = min(self.retry.budget_burst, self.tokens + self.retry.budget_ratio)
        self.waits_for[message] = self.sends[message]
        self.world.after(self.retry.timeout_s, self._impatient, message, self.sends[message])

    def acked(self, event: int) -> None:
        """Notes that the first copy of an event is acknowledged."""
        self.missing[self.message[event]] -= 1

    def hears(self, event: int, *, fresh: bool) -> bool:
        """Tells whether the acknowledgement of a copy of an event is the first one."""
        if event in self.unheard:
            self.unheard.remove(event)
            return True
        return fresh

    def refused(self, event: int) -> None:
        """Tells a message's client that events of it, such as this one, were refused."""
        message = self.message[event]
        self._impatient(message, self.waits_for[message])

    def _impatient(self, message: int, sending: int) -> None:
        if sending == NOT_WAITING or sending != self.waits_for[message] or self.missing[message] == 0:
            return
        self.waits_for[message] = NOT_WAITING
        if self.sends[message] > self.retry.retries:
            return
        if self.retry.budget_ratio is not None:
            if self.tokens < 1.0:
                return
            self.tokens -= 1.0
        self.backoff(self._resend, message)

    def _resend(self, message: int) -> None:
        if self.missing[message] > 0:
            self.jobs.put(message)

    def serve(self, send: Callable[[range], None]) -> Process:
        """The thread that sends again; `send` takes a message's range of events to the network."""
        while True:
            message = yield self.jobs.get()
            events = range(self.first_event[message], self.first_event[message + 1])
            yield self.thread.run(self.work, 1, len(events))
            send(events)
            self.sent(message)


def make_clients(world: World) -> Clients | None:
    """Returns the clients' side of a run whose clients are impatient."""
    name, spec = only(world.scenario, Source)
    return Clients(world, name, spec, spec.retry) if spec.retry else None

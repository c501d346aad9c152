"""An edge whose subscribers are of tenants, some of them slow: WebSocket or server-sent events with a bounded buffer each."""

from __future__ import annotations

from dataclasses import dataclass

import simpy

from sentra_sim.engine.audience import Class, classes_of, sse_demands
from sentra_sim.engine.reference.edge import BroadcastModel
from sentra_sim.engine.reference.hosts import Draws
from sentra_sim.engine.reference.world import Batch, Process, World
from sentra_sim.scenario import Broadcast
from sentra_sim.scenario.schema import Subscribers


@dataclass(eq=False)
class SlowClass:
    """Subscribers of one group of tenants, all alike. Levels are events of one of them; the buffer drains like a fluid.

    Fast ones have no buffer: they read at once what they get, and count among the slow ones with what they miss while away.
    """

    kind: Class
    clients: float
    backoff_s: float  # the next one
    unsent: float = 0.0  # live events in the buffer
    behind: float = 0.0  # events it missed that are sent anew, which do not count against the buffer
    missed: float = 0.0  # while it is away
    clock_s: float = 0.0  # when the buffer was last looked at
    left_s: float = 0.0
    connected: bool = True


class SubscribedModel(BroadcastModel):
    """Each poll is encoded (`send`), then written once to each client of a tenant in it (`deliver`)."""

    def __init__(self, world: World, name: str, spec: Broadcast, subscribers: Subscribers) -> None:
        self.subscribers = subscribers
        self.sse = subscribers.sse
        self.classes = [
            SlowClass(
                kind, kind.clients(subscribers.count, subscribers.slow_share), backoff_s=subscribers.reconnect.mean_s
            )
            for kind in classes_of(world.scenario, subscribers)
        ]
        self.jitter = Draws(world.plan.multipliers[name, "reconnect"])
        self.writes = self.drops = self.reconnects = self.replayed = self.gap = 0.0
        self.sse_writes = self.sse_drops = self.sse_reconnects = 0.0
        self.slow_offered = self.slow_delivered = self.slow_wait_s = self.slow_wait_max_s = 0.0
        self.life, self.up, self.starting, self.welcome = 0, True, False, False
        self.redone = self.recoveries = 0.0
        self.back: simpy.Event | None = None  # what a job that the edge is down for waits for
        super().__init__(world, name, spec)
        world.stores[name] = self

    def arm(self) -> None:
        """Has no timers."""

    def _send(self) -> Process:
        world = self.world
        thread = world.thread(world.process[self.name], low=self.spec.low_priority)
        send = world.work(self.name, "send", self.spec.send)
        deliver = world.work(self.name, "deliver", self.subscribers.deliver)
        connect = world.work(self.name, "connect", self.subscribers.connect)
        sse = [world.work(self.name, purpose, demand) for purpose, demand in sse_demands(self.subscribers).items()]
        while True:
            job = yield self.jobs.get()
            life = -1
            while life != self.life:  # what a kill finds under way is done again
                self.redone += float(life >= 0)
                if not self.up:
                    self.back = self.world.env.event()
                    yield self.back
                life = self.life
                if self.welcome:
                    self.welcome = False
                    yield thread.run(connect, int(self._fast_clients()), 0)
                    if life != self.life:
                        continue
                if isinstance(job, Batch):
                    yield thread.run(send, len(job.frames), job.events)
                    if life != self.life:
                        continue
                    yield thread.run(deliver, self._count_writes(job.events), 0)
                    if sse and life == self.life:
                        yield thread.run(sse[0], self._count_sse_writes(job.events), self._sse_events(job.events))
                else:
                    work = sse[1] if job.kind.sse else connect
                    yield thread.run(work, int(job.clients), int(job.missed * job.clients))
            if isinstance(job, Batch):
                world.stamp(job.frames, self.spec.hops[0])
                for slow in self.classes:
                    self._write(slow, job.events * slow.kind.share)
                self.after_network(self.received.put, job)
            else:
                self._resume(job)

    def _fast_clients(self) -> float:
        fast = float(self.subscribers.count)
        for slow in self.classes:
            fast -= slow.clients
        return fast

    def _count_writes(self, events: int) -> int:
        """Counts messages over WebSocket: a client gets one if its tenant has an event in the poll."""
        writes = self._writes(events, sse=False)
        self.writes += writes
        return int(writes + 0.5)

    def _count_sse_writes(self, events: int) -> int:
        writes = self._writes(events, sse=True)
        self.writes += writes
        self.sse_writes += writes
        return int(writes + 0.5)

    def _writes(self, events: int, *, sse: bool) -> float:
        writes = 0.0
        for slow in self.classes:
            if slow.kind.sse == sse:
                writes += self._readers(slow) * (1.0 - (1.0 - slow.kind.share) ** float(events))
        return writes

    def _sse_events(self, events: int) -> int:
        """Counts the events of a poll as often as they are sent over server-sent events."""
        sent = 0.0
        for slow in self.classes:
            if slow.kind.sse:
                sent += self._readers(slow) * (events * slow.kind.share)
        return int(sent + 0.5)

    def _readers(self, slow: SlowClass) -> float:
        """Returns how many clients a class stands for: a slow one for the fast ones of its kind too, less those that are away."""
        clients = 0.0 if slow.kind.fast else self.subscribers.count * slow.kind.part
        return clients if slow.connected else clients - slow.clients

    def _write(self, slow: SlowClass, events: float) -> None:
        """Puts events into the buffers of a class; cuts it off if they are too many."""
        if slow.clients == 0.0 or (slow.kind.fast and slow.connected):
            return
        self.slow_offered += events * slow.clients
        if not slow.connected:
            slow.missed += events
            return
        self._drain(slow)
        slow.unsent += events
        wait_s = (slow.behind + slow.unsent) / self.subscribers.slow_read_eps
        self.slow_wait_s += events * slow.clients * wait_s
        self.slow_wait_max_s = max(self.slow_wait_max_s, wait_s)
        if slow.unsent > self.subscribers.buffer_events:
            self._cut_off(slow)

    def _drain(self, slow: SlowClass) -> None:
        now_s = self.world.env.now
        room = (now_s - slow.clock_s) * self.subscribers.slow_read_eps
        slow.clock_s = now_s
        old = min(slow.behind, room)
        slow.behind -= old
        new = min(slow.unsent, room - old)
        slow.unsent -= new
        self.slow_delivered += (old + new) * slow.clients
        if slow.behind + slow.unsent == 0.0:
            slow.backoff_s = self.subscribers.reconnect.mean_s

    def _cut_off(self, slow: SlowClass) -> None:
        self.drops += slow.clients
        slow.missed = slow.unsent + slow.behind
        slow.unsent = slow.behind = 0.0
        slow.connected = False
        slow.left_s = self.world.env.now
        if slow.kind.sse:
            self.sse_drops += slow.clients
        self._back_off(slow)

    def _back_off(self, slow: SlowClass) -> None:
        if slow.kind.sse:
            assert self.sse is not None  # or there is no such class
            wait_s = self.sse.retry_s
        else:
            wait_s = slow.backoff_s * self.jitter.next()
            slow.backoff_s = min(2.0 * slow.backoff_s, self.subscribers.reconnect_max_s)
        self.world.after(wait_s, self._come_back, slow)

    def _come_back(self, slow: SlowClass) -> None:
        """A class asks to be let in again; an edge that is down refuses it."""
        if self.sse is not None and not self.up:
            self._back_off(slow)
        else:
            self.jobs.put(slow)

    def _resume(self, slow: SlowClass) -> None:
        """A class is back with its last id: what the edge still holds of what it missed is sent anew."""
        away_s = self.world.env.now - slow.left_s
        if away_s > self.subscribers.hold_s:
            lost = slow.missed * (1.0 - self.subscribers.hold_s / away_s)
            slow.missed -= lost
            self.gap += lost * slow.clients
        self.reconnects += slow.clients
        if slow.kind.sse:
            self.sse_reconnects += slow.clients
        self.replayed += slow.missed * slow.clients
        if slow.kind.fast:
            self.slow_delivered += slow.missed * slow.clients
            slow.backoff_s = self.subscribers.reconnect.mean_s
        else:
            slow.behind = slow.missed
        slow.missed = 0.0
        slow.connected = True
        slow.clock_s = self.world.env.now

    def change(self, operation: str, value: float) -> None:
        """Kills the edge, starts it again, or sets how many of its subscribers are slow."""
        if operation == "kill":
            self._kill()
        elif operation == "start":
            self._start_again()
        elif operation == "slow-clients":
            self._set_slow_share(value)

    def _kill(self) -> None:
        """Ends the edge's process: all connections break."""
        if not self.up and not self.starting:
            return
        self.life += 1
        self.up = self.starting = False
        for slow in self.classes:
            if slow.connected:
                self._drain(slow)
                self._cut_off(slow)

    def _start_again(self) -> None:
        if self.up or self.starting:
            return
        assert self.spec.recovery is not None  # held by check_change
        self.starting = True
        self.world.after(self.spec.recovery.restart_s, self._recovered, self.life)

    def _recovered(self, life: int) -> None:
        if life != self.life:
            return
        self.up, self.starting, self.welcome = True, False, self.sse is None
        self.recoveries += 1.0
        back, self.back = self.back, None
        if back is not None:
            back.succeed()

    def _set_slow_share(self, value: float) -> None:
        """Those that become slow share what is unsent; those that become fast have read it."""
        for slow in self.classes:
            clients = slow.kind.clients(self.subscribers.count, value)
            if slow.connected:
                self._drain(slow)
            if clients < slow.clients:
                self.slow_delivered += (slow.clients - clients) * (slow.unsent + slow.behind + slow.missed)
            keep = slow.clients / clients if clients > slow.clients else 1.0 if clients > 0.0 else 0.0
            slow.unsent, slow.behind, slow.missed = slow.unsent * keep, slow.behind * keep, slow.missed * keep
            slow.clients = clients

    def tallies(self) -> dict[str, float]:
        """Returns what the edge has counted."""
        pending = 0.0
        for slow in self.classes:
            pending += slow.clients * (slow.unsent + slow.behind + slow.missed)
        found = {
            "writes": self.writes,
            "drops": self.drops,
            "reconnects": self.reconnects,
            "replayed": self.replayed,
            "gap": self.gap,
            "redone": self.redone,
            "recoveries": self.recoveries,
            "slow_offered": self.slow_offered,
            "slow_delivered": self.slow_delivered,
            "slow_pending": pending,
            "slow_wait_s": self.slow_wait_s,
            "slow_wait_max_s": self.slow_wait_max_s,
        }
        if self.sse is not None:
            found |= {
                "sse_writes": self.sse_writes,
                "sse_drops": self.sse_drops,
                "sse_reconnects": self.sse_reconnects,
            }
        return found


def make_edge(world: World, name: str, spec: Broadcast) -> BroadcastModel:
    """Returns the model of an edge."""
    if spec.subscribers is None:
        return BroadcastModel(world, name, spec)
    return SubscribedModel(world, name, spec, spec.subscribers)

"""What the batcher takes: quotas, classes, guaranteed shares of what may be in flight; and who is told what became of it."""

from __future__ import annotations

from collections.abc import Callable

from sentra_sim.engine.admission import tenant_bounds
from sentra_sim.engine.facts import is_tracked
from sentra_sim.engine.reference.clients import Clients
from sentra_sim.engine.reference.pressure import Pressure
from sentra_sim.engine.reference.world import Frame, World
from sentra_sim.scenario import Batcher, only
from sentra_sim.scenario.keys import tenant_of
from sentra_sim.scenario.schema import Admission


class Bucket:
    """A token bucket, full at the start."""

    def __init__(self, rate_eps: float, burst_events: float) -> None:
        self.rate_eps, self.burst = rate_eps, burst_events
        self.tokens, self.filled_s = burst_events, 0.0

    def holds(self, now_s: float) -> bool:
        """Tells whether there is a token now."""
        self.tokens = min(self.burst, self.tokens + self.rate_eps * (now_s - self.filled_s))
        self.filled_s = now_s
        return self.tokens >= 1.0


class Gate:
    """Judges every event, and counts what is in flight: admitted and not yet acknowledged by the log."""

    def __init__(self, world: World, spec: Admission) -> None:
        self.world, self.spec = world, spec
        load, keys = world.scenario.load, world.plan.offered.keys
        self.tenant: list[int] = tenant_of(keys, load.tenants).tolist()
        self.key: list[int] = keys.tolist()
        self.reserved, self.bound = tenant_bounds(spec, load.tenants)
        self.in_flight = [0] * load.tenants
        self.shared = 0  # events in flight beyond their tenants' reserved room
        self.quota = {quota.tenant: Bucket(quota.rate_eps, quota.burst_events) for quota in spec.quotas}
        self.pressure = Pressure(world, spec.backpressure) if spec.backpressure else None
        each = spec.key_quota
        self.key_quota = [Bucket(each.rate_eps, each.burst_events) for _ in range(load.keys)] if each else []

    def admit(self, event: int) -> bool:
        """Takes an event, or tells that it is shed."""
        if self.pressure is not None and self.pressure.refuses():
            return False
        tenant, now_s = self.tenant[event], self.world.env.now
        beyond = self.in_flight[tenant] >= self.reserved[tenant]
        if beyond and self.shared >= self.bound[tenant]:
            return False
        mine = self.quota.get(tenant)
        if mine is not None and not mine.holds(now_s):
            return False
        if self.key_quota:
            of_key = self.key_quota[self.key[event]]
            if not of_key.holds(now_s):
                return False
            of_key.tokens -= 1.0
        if mine is not None:
            mine.tokens -= 1.0
        self.in_flight[tenant] += 1
        self.shared += beyond
        return True

    def forget(self) -> None:
        """Begins anew, as nothing were in flight and all buckets full: its process has ended."""
        self.in_flight = [0] * len(self.in_flight)
        self.shared = 0
        for bucket in (*self.quota.values(), *self.key_quota):
            bucket.tokens = bucket.burst

    def release(self, event: int) -> None:
        """Notes that a copy of an event has left the batcher's charge."""
        tenant = self.tenant[event]
        self.shared -= self.in_flight[tenant] > self.reserved[tenant]
        self.in_flight[tenant] -= 1


class Tracking:
    """Which copies of events a frame carries, for the gate and the clients to hear of their acknowledgement."""

    def __init__(self, gate: Gate | None, clients: Clients | None) -> None:
        self.gate, self.clients = gate, clients
        self.left: Callable[[Frame], None] | None = None  # hears which frames leave the batcher's charge
        self.pressure = gate.pressure if gate is not None else None
        if self.pressure is not None:
            self.pressure.tell = self._tell

    def admit(self, event: int) -> bool:
        """Asks the gate, if there is one."""
        return self.gate is None or self.gate.admit(event)

    def refused(self, event: int) -> None:
        """Tells the client of a message of which events were shed."""
        if self.clients is not None:
            self.clients.refused(event)

    def acked(self, frames: list[Frame]) -> None:
        """Tells of the acknowledgement of frames, unless that is kept back."""
        if self.pressure is None or not self.pressure.holds(frames):
            self._tell(frames)

    def _tell(self, frames: list[Frame]) -> None:
        for frame in frames:
            self.gone(frame)
            if self.clients is not None:
                for event, fresh in frame.copies:
                    if self.clients.hears(event, fresh=fresh):
                        self.clients.acked(event)

    def gone(self, frame: Frame) -> None:
        """Tells the gate that a frame has left the batcher's charge: it was acknowledged, or the producer has given it up."""
        if self.gate is not None:
            for event, _ in frame.copies:
                self.gate.release(event)
        if self.left is not None:
            self.left(frame)

    def unheard(self, frame: Frame) -> None:
        """Notes that nobody will hear of a frame's acknowledgement."""
        if self.clients is not None:
            self.clients.unheard.update(event for event, fresh in frame.copies if fresh)

    def sleep(self) -> None:
        """Forgets all, as the batcher's process has ended."""
        if self.gate is not None:
            self.gate.forget()
        if self.pressure is not None:
            self.pressure.sleep()

    def wake(self) -> None:
        """Goes on with a new process."""
        if self.pressure is not None:
            self.pressure.awake = True


def make_tracking(world: World, clients: Clients | None) -> Tracking | None:
    """Returns the tracking of copies, where a rule or a client needs it."""
    rules = only(world.scenario, Batcher)[1].admission
    if not is_tracked(world.scenario):
        return None
    tracking = Tracking(Gate(world, rules) if rules else None, clients)
    if tracking.pressure is not None:
        world.counts[only(world.scenario, Batcher)[0]] = tracking.pressure.tallies
    world.on_acked.append(tracking.acked)
    world.on_gone.append(tracking.gone)
    return tracking

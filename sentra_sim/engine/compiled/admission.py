"""What the batcher takes: quotas, classes, guaranteed shares of what may be in flight; and who is told what became of it."""

from __future__ import annotations

from sentra_sim.engine.compiled.clients import impatient
from sentra_sim.engine.compiled.memory import (
    Row,
    Sim,
    acked_frame_at,
    bucket_at,
    cold,
    copies_of,
    event_copy_at,
    event_key_at,
    event_message_at,
    message_at,
    plain,
    pressure_of,
    repeats_of,
    tenant_at,
)


@plain
def holds(sim: Sim, bucket: Row) -> bool:
    """Tells whether there is a token in a bucket now."""
    bucket.tokens = min(bucket.burst, bucket.tokens + bucket.rate * (sim.now - bucket.filled))
    bucket.filled = sim.now
    return bucket.tokens >= 1.0  # type: ignore[no-any-return]


@plain
def admit(sim: Sim, event: int) -> bool:
    """Takes an event, or tells that it is shed."""
    if sim.pressed and not pressure_of(sim).hold_acks:
        pressure_of(sim).backpressure_shed += 1
        return False
    key = event_key_at(sim, event).value
    tenant = tenant_at(sim, key % sim.tenant_count)
    beyond = tenant.in_flight >= tenant.reserved
    if beyond and sim.shared >= tenant.bound:
        return False
    if tenant.quota >= 0 and not holds(sim, bucket_at(sim, tenant.quota)):
        return False
    if sim.key_quota >= 0:
        of_key = bucket_at(sim, sim.key_quota + key)
        if not holds(sim, of_key):
            return False
        of_key.tokens -= 1.0
    if tenant.quota >= 0:
        bucket_at(sim, tenant.quota).tokens -= 1.0
    tenant.in_flight += 1
    if beyond:
        sim.shared += 1
    return True


@cold
def carry_nothing(sim: Sim, frame: int) -> None:
    """Notes that a new frame carries nothing yet."""
    copies_of(sim, frame).value = -1
    repeats_of(sim, frame).value = 0


@plain
def carry(sim: Sim, frame: int, event: int, fresh: int) -> None:
    """Notes that a frame carries a copy of an event."""
    row = event_copy_at(sim, sim.copy_count)
    row.event, row.fresh, row.next = event, fresh, copies_of(sim, frame).value
    copies_of(sim, frame).value = sim.copy_count
    sim.copy_count += 1
    repeats_of(sim, frame).value += 1 - fresh


@cold
def tell_acked(sim: Sim, frame: int) -> None:
    """Tells the gate and the clients of a frame's acknowledgement, unless that is kept back."""
    pressure = pressure_of(sim)
    if sim.pressed and pressure.hold_acks:
        acked_frame_at(sim, pressure.acked).value = frame
        pressure.acked += 1
    else:
        tell_clients(sim, frame)


@cold
def tell_clients(sim: Sim, frame: int) -> None:
    """Tells the gate and the clients of a frame's acknowledgement."""
    if sim.gated:
        tell_gone(sim, frame)
    if not sim.retrying:
        return
    copy = copies_of(sim, frame).value
    while copy >= 0:
        row = event_copy_at(sim, copy)
        if row.fresh:
            message_at(sim, event_message_at(sim, row.event).value).missing -= 1
        copy = row.next


@cold
def tell_gone(sim: Sim, frame: int) -> None:
    """Tells the gate that a frame has left the batcher's charge: it was acknowledged, or the producer has given it up."""
    copy = copies_of(sim, frame).value
    while copy >= 0:
        row = event_copy_at(sim, copy)
        tenant = tenant_at(sim, event_key_at(sim, row.event).value % sim.tenant_count)
        if tenant.in_flight > tenant.reserved:
            sim.shared -= 1
        tenant.in_flight -= 1
        copy = row.next


@plain
def tell_refused(sim: Sim, message: int) -> None:
    """Tells the client of a message of which events were shed."""
    if sim.retrying:
        impatient(sim, message, message_at(sim, message).waits_for)

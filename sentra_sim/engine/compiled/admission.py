"""What the batcher takes: quotas, classes, guaranteed shares of what may be in flight; and who is told what became of it."""

from __future__ import annotations

from sentra_sim.engine.compiled.charge import leaves
from sentra_sim.engine.compiled.clients import impatient
from sentra_sim.engine.compiled.layout import ENDED
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
    frame_at,
    frame_of,
    message_at,
    plain,
    pressure_of,
    repeats_of,
    tenant_at,
    unheard_at,
)
from sentra_sim.engine.trace import EVENT_SHED, SHED


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
    sim.in_charge += 1


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
    leave_charge(sim, frame)
    if not sim.retrying:
        return
    copy = copies_of(sim, frame).value
    while copy >= 0:
        row = event_copy_at(sim, copy)
        if hears(sim, row):
            message_at(sim, event_message_at(sim, row.event).value).missing -= 1
        copy = row.next


@plain
def hears(sim: Sim, copy: Row) -> bool:
    """Tells whether the acknowledgement of a copy of an event is the first one."""
    unheard = unheard_at(sim, copy.event)
    if unheard.value:
        unheard.value = 0
        return True
    return copy.fresh != 0  # type: ignore[no-any-return]


@cold
def leave_charge(sim: Sim, frame: int) -> None:
    """Tells that a frame has left the batcher's charge: it was acknowledged, or the producer has given it up."""
    if sim.gated:
        tell_gone(sim, frame)
    if sim.mortal:
        leaves(sim)


@cold
def tell_gone(sim: Sim, frame: int) -> None:
    """Tells the gate that a frame has left the batcher's charge."""
    copy = copies_of(sim, frame).value
    while copy >= 0:
        row = event_copy_at(sim, copy)
        tenant = tenant_at(sim, event_key_at(sim, row.event).value % sim.tenant_count)
        if tenant.in_flight > tenant.reserved:
            sim.shared -= 1
        tenant.in_flight -= 1
        copy = row.next


@cold
def let_go(sim: Sim, frame: int) -> None:
    """Ends a frame that nobody sends any more; its events were never acknowledged, and may come again in another."""
    copy = copies_of(sim, frame).value
    while copy >= 0:
        row = event_copy_at(sim, copy)
        if row.fresh:
            frame_of(sim.event_frame, row.event).value = EVENT_SHED
        copy = row.next
    repeats_of(sim, frame).value = frame_at(sim, frame).events
    frame_at(sim, frame).outcome, frame_at(sim, frame).over = SHED, ENDED


@cold
def make_unheard(sim: Sim, frame: int) -> None:
    """Notes that nobody will hear of a frame's acknowledgement."""
    copy = copies_of(sim, frame).value
    while copy >= 0:
        row = event_copy_at(sim, copy)
        if row.fresh:
            unheard_at(sim, row.event).value = 1
        copy = row.next


@plain
def tell_refused(sim: Sim, message: int) -> None:
    """Tells the client of a message of which events were shed."""
    if sim.retrying:
        impatient(sim, message, message_at(sim, message).waits_for)

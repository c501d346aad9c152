"""The compiled engine's calendar, ordered by (time, sequence of scheduling) like SimPy's.

It has three parts: a ring for what is due at once; a short sorted list, since most new entries are among the next few to come
and so find their place in two or three steps; a heap for what does not fit there.
"""

from __future__ import annotations

import numpy as np

from sentra_sim.engine.compiled.draws import draw
from sentra_sim.engine.compiled.heaps import before, copy_entry, heap_insert, heap_remove_first
from sentra_sim.engine.compiled.layout import CALENDAR, SOON
from sentra_sim.engine.compiled.memory import Row, Sim, cpu_at, delay_at, entry_at, inline, more, plain, ring_at
from sentra_sim.engine.compiled.network import crossing

# Kinds of calendar entries. NumPy's integers, as Numba would compile each function anew for every literal that it is called with.
KINDS = np.arange(55)
GOT, DONE, PUT, SLICE, ALARM, SOURCE_DUE, ARRIVE, LINGER, ACK, AVAILABLE, WAKE, REPLY, VISIBLE, FLUSHED = KINDS[:14]
WRITER_WOKEN, WRITER_DUE, HEARD, TICK_DUE, HANDED = KINDS[14:19]
# Rare ones, a line each area: brokers that fail, consumers that come and go, pauses and limits of processes and hosts,
# stores and edges, clients, backpressure.
RETRY, FENCE, STARTED, PREFER, LAG, WRITTEN, COPIED, REPLICATED = KINDS[19:27]
HEAR, TAKEN_OVER, EXPIRED, READY, RESUMED, CALL = KINDS[27:33]
TURN, THROTTLE, REFILL = KINDS[33:36]
STORE_COMMITTED, STORE_FLUSH, STORE_FLUSHED, STORE_RECOVERED, COMMAND_DUE, RELAY_LOOK = KINDS[36:42]
PART_TRY, PART_INSERT, RECONNECT, EDGE_RECOVERED = KINDS[42:46]
IMPATIENT, RESEND = KINDS[46:48]
PRESSURE_LOOK = KINDS[48]
FETCH_OVER, FETCH_COMES, REPLICA_COMES, RETAIN = KINDS[49:53]
GATEWAY_READY, POLL_WATCH = KINDS[53:55]  # of the gateway's life, of consumers' polls
NONE, ONE = KINDS[:2]
KIND_BITS = 6


@inline
def kind_of(entry: Row) -> int:
    """Returns of which kind an entry is."""
    return entry.what & ((1 << KIND_BITS) - 1)  # type: ignore[no-any-return]


@inline
def subject_of(entry: Row) -> int:
    """Returns what an entry is about."""
    return entry.what >> KIND_BITS  # type: ignore[no-any-return]


@plain
def push(sim: Sim, delay: float, kind: int, subject: int, detail: int) -> None:
    """Schedules an event after a delay."""
    time = sim.now + delay
    if max(sim.ring_size, sim.heap_size + SOON) >= sim.room:
        more(sim, CALENDAR)
    sim.seq += 1
    if time == sim.now:
        entry = ring_at(sim, (sim.ring_head + sim.ring_size) & (sim.room - 1))
        sim.ring_size += 1
    elif sim.heap_size > 0 and sim.soon_size > 0 and time >= entry_at(sim.soon, 0).time:
        entry = heap_insert(sim.heap, sim.heap_size, time, sim.seq)
        sim.heap_size += 1
    else:
        entry = soon_insert(sim, time)
    entry.time, entry.seq, entry.what, entry.detail = time, sim.seq, (subject << KIND_BITS) + kind, detail


@inline
def pop(sim: Sim) -> Row:
    """Removes the next entry and returns it; its row holds until the next push. There must be one."""
    if sim.soon_size == 0 or (
        sim.heap_size > 0 and before(entry_at(sim.heap, 0), entry_at(sim.soon, sim.soon_size - 1))
    ):
        copy_entry(entry_at(sim.heap, 0), entry_at(sim.soon, SOON))
        sim.heap_size -= 1
        heap_remove_first(sim.heap, sim.heap_size)
        return entry_at(sim.soon, SOON)
    sim.soon_size -= 1
    return entry_at(sim.soon, sim.soon_size)


@inline
def next_time(sim: Sim) -> float:
    """Returns when the next entry outside the ring is due; there must be one."""
    if sim.soon_size == 0:
        return entry_at(sim.heap, 0).time  # type: ignore[no-any-return]
    time = entry_at(sim.soon, sim.soon_size - 1).time
    return time if sim.heap_size == 0 else min(time, entry_at(sim.heap, 0).time)  # type: ignore[no-any-return]


@inline
def next_is_due(sim: Sim, seq: int) -> bool:
    """Tells whether an entry outside the ring is due now and was scheduled before the one with sequence `seq`."""
    if sim.soon_size > 0:
        soon = entry_at(sim.soon, sim.soon_size - 1)
        if soon.time <= sim.now and soon.seq < seq:
            return True
    if sim.heap_size > 0:
        first = entry_at(sim.heap, 0)
        return first.time <= sim.now and first.seq < seq  # type: ignore[no-any-return]
    return False


@inline
def quiet(sim: Sim) -> bool:
    """Tells whether nothing else is due now: what is scheduled for now would be next.

    Whoever would schedule it as the first thing may then do it as the last thing instead, in the same order of events.
    """
    return sim.ring_size == 0 and not next_is_due(sim, sim.seq + 1)


@inline
def soon_insert(sim: Sim, time: float) -> Row:
    """Makes room among the soonest entries, kept in falling order, for one later than all of equal time."""
    if sim.soon_size == SOON:
        for at in range(SOON // 2):
            entry = entry_at(sim.soon, at)
            copy_entry(entry, heap_insert(sim.heap, sim.heap_size, entry.time, entry.seq))
            sim.heap_size += 1
            copy_entry(entry_at(sim.soon, SOON // 2 + at), entry)
        sim.soon_size = SOON // 2
    at = sim.soon_size
    while at > 0:
        sooner = entry_at(sim.soon, at - 1)
        if sooner.time > time:
            break
        copy_entry(sooner, entry_at(sim.soon, at))
        at -= 1
    sim.soon_size += 1
    return entry_at(sim.soon, at)


@plain
def delay_of(sim: Sim, number: int) -> float:
    """Draws a pure delay."""
    row = delay_at(sim, number)
    if row.crosses:
        return row.mean * draw(sim, row) + crossing(sim, row)  # type: ignore[no-any-return]
    return row.mean * draw(sim, row)  # type: ignore[no-any-return]


@inline
def charge(sim: Sim, process: int, start: float, end: float) -> None:
    """Books a busy interval of one core to the whole seconds that it touches."""
    second = int(start)
    while second + 1 < end:
        cpu_at(sim, process, second).value += second + 1 - start
        second += 1
        start = second
    cpu_at(sim, process, second).value += end - start

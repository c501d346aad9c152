"""Stores whose flushes become parts. `reference/parts.py` is the model."""

from __future__ import annotations

from sentra_sim.engine.compiled.calendar import FLUSHED, NONE, PART_INSERT, PART_TRY, delay_of, push
from sentra_sim.engine.compiled.hosts import run_job
from sentra_sim.engine.compiled.memory import (
    Row,
    Sim,
    cold,
    columnar_at,
    node_at,
    plain,
    poll_at,
    server_at,
    station_at,
    thread_at,
    tier_at,
    writer_at,
)
from sentra_sim.engine.compiled.queues import free, link, new_node
from sentra_sim.engine.tallies import TIERS


@plain
def gather(sim: Sim, number: int, poll: int) -> None:
    """Hands a poll to the replica whose turn it is, for its next flush."""
    store = columnar_at(sim, number)
    at = store.first + store.turn % store.active
    store.turn += 1
    writer = writer_at(sim, at)
    link(sim, writer, new_node(sim, NONE, poll))
    if not writer.busy:
        writer.busy = 1
        wait_to_insert(sim, at)


@plain
def wait_to_insert(sim: Sim, at: int) -> None:
    """Waits until a replica may flush again."""
    writer = writer_at(sim, at)
    if writer.last_start < 0.0:
        writer.last_start = sim.now
    wait = writer.last_start + station_at(sim, columnar_at(sim, writer.store).station).flush - sim.now
    if wait > 0.0:
        push(sim, wait, PART_TRY, at, NONE)
    else:
        try_insert(sim, at)


@plain
def try_insert(sim: Sim, at: int) -> None:
    """Inserts what has gathered, later if there are many parts, and not now if there are too many."""
    writer = writer_at(sim, at)
    store = columnar_at(sim, writer.store)
    if store.fan_in == 0 or writer.parts < store.parts_to_delay:
        insert(sim, at)
    elif writer.parts < store.parts_to_throw:
        store.delayed_inserts += 1.0
        over = writer.parts - store.parts_to_delay + 1
        delay = store.max_delay * over / (store.parts_to_throw - store.parts_to_delay)
        push(sim, max(store.min_delay, delay), PART_INSERT, at, NONE)
    else:
        store.refused_inserts += 1.0
        push(sim, store.retry, PART_TRY, at, NONE)


@plain
def insert(sim: Sim, at: int) -> None:
    """Writes all that a replica has gathered as one job."""
    writer = writer_at(sim, at)
    writer.last_start = sim.now
    frames, events, node = 0, 0, writer.head
    while node >= 0:
        poll = poll_at(sim, node_at(sim, node).ref)
        frames += poll.frames
        events += poll.events
        node = node_at(sim, node).next
    writer.rows = events
    thread_at(sim, writer.thread).ref = writer.head
    writer.head = -1
    run_job(sim, writer.thread, station_at(sim, columnar_at(sim, writer.store).station).work, frames, events)


@cold
def inserted(sim: Sim, at: int) -> None:
    """Notes a new part; the replica goes on."""
    writer = writer_at(sim, at)
    store = columnar_at(sim, writer.store)
    store.inserts += 1.0
    store.parts += 1.0
    writer.parts += 1
    store.most_parts = max(store.most_parts, float(writer.parts))
    add_part(sim, writer, 0, writer.rows)
    start_merges(sim, at)
    station = station_at(sim, store.station)
    push(sim, delay_of(sim, station.delay), FLUSHED, store.station, thread_at(sim, writer.thread).ref)
    if writer.head >= 0:
        wait_to_insert(sim, at)
    else:
        writer.busy = 0


@plain
def add_part(sim: Sim, writer: Row, tier: int, rows: int) -> None:
    """Puts a part into a tier of a replica."""
    row = tier_at(sim, writer.tiers + tier)
    link(sim, row, new_node(sim, NONE, rows))
    row.count += 1


@plain
def start_merges(sim: Sim, at: int) -> None:
    """Lets idle threads of a replica merge, the smallest parts first."""
    writer = writer_at(sim, at)
    store = columnar_at(sim, writer.store)
    if store.fan_in == 0:
        return
    idle = server_at(sim, writer.merging)
    while idle.idle_head >= 0:
        tier = 0
        while tier < TIERS and tier_at(sim, writer.tiers + tier).count < store.fan_in:
            tier += 1
        if tier == TIERS:
            return
        thread = idle.idle_head
        row = thread_at(sim, thread)
        idle.idle_head = row.next
        row.work, row.ref = tier, take_parts(sim, tier_at(sim, writer.tiers + tier), store.fan_in)
        run_job(sim, thread, store.merge_work, store.fan_in, row.ref)


@plain
def take_parts(sim: Sim, tier: Row, count: int) -> int:
    """Takes the oldest parts out of a tier and returns their rows."""
    rows = 0
    for _ in range(count):
        node = tier.head
        rows += node_at(sim, node).ref
        tier.head = node_at(sim, node).next
        free(sim, node)
    tier.count -= count
    return rows


@cold
def merged(sim: Sim, thread: int) -> None:
    """Puts what a thread has merged into the next tier, and lets it look for more."""
    row = thread_at(sim, thread)
    writer = writer_at(sim, row.unit)
    store = columnar_at(sim, writer.store)
    store.merges += 1.0
    store.merged_rows += float(row.ref)
    store.parts -= float(store.fan_in - 1)
    writer.parts -= store.fan_in - 1
    add_part(sim, writer, min(row.work + 1, TIERS - 1), row.ref)
    idle = server_at(sim, writer.merging)
    row.next = -1
    if idle.idle_head < 0:
        idle.idle_head = thread
    else:
        thread_at(sim, idle.idle_tail).next = thread
    idle.idle_tail = thread
    start_merges(sim, row.unit)

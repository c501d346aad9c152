"""Polls that wait for a connection and a thread of a transactional store. `reference/transactions.py` is the model."""

from __future__ import annotations

from sentra_sim.engine.compiled.calendar import NONE
from sentra_sim.engine.compiled.hosts import run_job
from sentra_sim.engine.compiled.memory import (
    Row,
    Sim,
    command_at,
    node_at,
    plain,
    poll_at,
    server_at,
    station_at,
    store_at,
    thread_at,
)
from sentra_sim.engine.compiled.queues import free, link, new_node


@plain
def push_front(sim: Sim, queue: Row, node: int) -> None:
    """Puts a node at the head of a list."""
    node_at(sim, node).next = queue.head
    if queue.head < 0:
        queue.tail = node
    queue.head = node


@plain
def take_first(sim: Sim, queue: Row) -> int:
    """Takes the first node off a list, which must have one."""
    node = queue.head
    queue.head = node_at(sim, node).next
    node_at(sim, node).next = -1
    return node  # type: ignore[no-any-return]


@plain
def prepend(sim: Sim, queue: Row, other: Row) -> int:
    """Moves another list before this one, and returns how many nodes that were."""
    count, node = 0, other.head
    while node >= 0:
        count += 1
        node = node_at(sim, node).next
    if count > 0:
        node_at(sim, other.tail).next = queue.head
        if queue.head < 0:
            queue.tail = other.tail
        queue.head = other.head
        other.head = -1
    return count


@plain
def accept(sim: Sim, number: int, poll: int) -> None:
    """Queues a poll for a connection."""
    link(sim, server_at(sim, store_at(sim, number).waiting), new_node(sim, NONE, poll))
    admit(sim, number)


@plain
def admit(sim: Sim, number: int) -> None:
    """Gives free connections to the polls that wait for one."""
    store = store_at(sim, number)
    waiting, ready = server_at(sim, store.waiting), server_at(sim, store.ready)
    while store.up and waiting.head >= 0 and not 0 < store.connections <= store.in_use:
        store.in_use += 1
        node = take_first(sim, waiting)
        node_at(sim, node).work = store.life
        link(sim, ready, node)
        run_next(sim, number)


@plain
def run_next(sim: Sim, number: int) -> None:
    """Lets idle threads work: first on commands, then on transactions."""
    store = store_at(sim, number)
    ready, due = server_at(sim, store.ready), server_at(sim, store.due)
    while ready.idle_head >= 0 and (due.head >= 0 or ready.head >= 0):
        thread = ready.idle_head
        row = thread_at(sim, thread)
        ready.idle_head = row.next
        if due.head >= 0:
            node = take_first(sim, due)
            row.ref, row.work = -1, node_at(sim, node).ref
            free(sim, node)
            run_job(sim, thread, command_at(sim, row.work).work, NONE, NONE)
        else:
            row.ref = take_first(sim, ready)
            poll = poll_at(sim, node_at(sim, row.ref).ref)
            run_job(sim, thread, station_at(sim, store.station).work, poll.frames, poll.events)


@plain
def stand_by(sim: Sim, number: int, thread: int) -> None:
    """Lets a thread that is done look for more to do."""
    ready = server_at(sim, store_at(sim, number).ready)
    thread_at(sim, thread).next = -1
    if ready.idle_head < 0:
        ready.idle_head = thread
    else:
        thread_at(sim, ready.idle_tail).next = thread
    ready.idle_tail = thread
    run_next(sim, number)

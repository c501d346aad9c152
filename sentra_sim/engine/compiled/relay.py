"""The relay of a store's outbox. `reference/relay.py` is the model."""

from __future__ import annotations

import math

from sentra_sim.engine.compiled.calendar import NONE, RELAY_LOOK, push
from sentra_sim.engine.compiled.hosts import run_job
from sentra_sim.engine.compiled.memory import (
    Sim,
    cold,
    link_at,
    node_at,
    plain,
    poll_at,
    server_at,
    station_at,
    store_at,
    thread_at,
)
from sentra_sim.engine.compiled.polls import offer
from sentra_sim.engine.compiled.queues import free, link, new_node


@plain
def relay_put(sim: Sim, number: int, poll: int) -> None:
    """Takes a committed poll into the outbox."""
    store = store_at(sim, number)
    link(sim, server_at(sim, store.outbox), new_node(sim, NONE, poll))
    if store.asleep:
        relay_wake(sim, number)


@plain
def relay_wake(sim: Sim, number: int) -> None:
    """Finds the time at which a relay that sleeps looks again."""
    store = store_at(sim, number)
    store.asleep = 0
    if store.notify:
        relay_look(sim, number)
        return
    looks = math.ceil((sim.now - store.looked) / store.poll)
    push(sim, max(0.0, store.looked + looks * store.poll - sim.now), RELAY_LOOK, number, NONE)


@plain
def relay_look(sim: Sim, number: int) -> None:
    """Takes what a batch holds, or sleeps."""
    store = store_at(sim, number)
    outbox = server_at(sim, store.outbox)
    if outbox.head < 0 or not store.relay_up:
        store.asleep = 1
        store.looked = sim.now
        return
    frames, events, head, last = 0, 0, outbox.head, -1
    while outbox.head >= 0:
        poll = poll_at(sim, node_at(sim, outbox.head).ref)
        if last >= 0 and events + poll.events > store.batch:
            break
        frames += poll.frames
        events += poll.events
        last = outbox.head
        outbox.head = node_at(sim, last).next
    node_at(sim, last).next = -1
    thread_at(sim, store.relay_thread).ref = head
    run_job(sim, store.relay_thread, store.relay_work, frames, events)


@cold
def relay_done(sim: Sim, number: int) -> None:
    """Hands on the polls of a batch, and looks again."""
    store = store_at(sim, number)
    station = station_at(sim, store.station)
    node = thread_at(sim, store.relay_thread).ref
    while node >= 0:
        after, poll = node_at(sim, node).next, node_at(sim, node).ref
        free(sim, node)
        store.relayed += 1.0
        for at in range(station.link_first, station.link_first + station.links):
            offer(sim, link_at(sim, at).value, poll)
        node = after
    relay_look(sim, number)


@plain
def relay_resume(sim: Sim, number: int) -> None:
    """The store serves again."""
    store = store_at(sim, number)
    store.relay_up = 1
    if store.asleep and server_at(sim, store.outbox).head >= 0:
        relay_wake(sim, number)

"""Transactional stores: threads, group commit, commands that block, kills. `reference/transactions.py` is the model."""

from __future__ import annotations

from sentra_sim.engine.compiled.calendar import (
    COMMAND_DUE,
    EDGE_RECOVERED,
    NONE,
    PART_INSERT,
    PART_TRY,
    RECONNECT,
    RELAY_LOOK,
    STORE_COMMITTED,
    STORE_FLUSH,
    STORE_FLUSHED,
    STORE_RECOVERED,
    delay_of,
    push,
)
from sentra_sim.engine.compiled.checkpoints import begin_checkpoint, change_pages, flush_slowdown, look_for_checkpoint
from sentra_sim.engine.compiled.edge import edge_recovered, reconnect
from sentra_sim.engine.compiled.hosts import run_job
from sentra_sim.engine.compiled.memory import (
    Sim,
    cold,
    command_at,
    link_at,
    node_at,
    plain,
    poll_at,
    server_at,
    station_at,
    store_at,
    thread_at,
)
from sentra_sim.engine.compiled.parts import insert, try_insert
from sentra_sim.engine.compiled.polls import fails, offer, stamp
from sentra_sim.engine.compiled.queues import free, link, new_node
from sentra_sim.engine.compiled.relay import relay_look, relay_put, relay_resume
from sentra_sim.engine.compiled.served import reply_last
from sentra_sim.engine.compiled.sessions import admit, prepend, push_front, run_next, stand_by


@plain
def arm_commands(sim: Sim, number: int) -> None:
    """Sets the timers of the commands that block a store."""
    store = store_at(sim, number)
    for at in range(store.command_first, store.command_first + store.commands):
        push(sim, command_at(sim, at).first, COMMAND_DUE, at, NONE)


@plain
def command_due(sim: Sim, at: int) -> None:
    """Queues a command for a thread."""
    if sim.now >= sim.seconds:
        return
    number = command_at(sim, at).store
    link(sim, server_at(sim, store_at(sim, number).due), new_node(sim, NONE, at))
    run_next(sim, number)
    push(sim, command_at(sim, at).every, COMMAND_DUE, at, NONE)


@cold
def store_worked(sim: Sim, thread: int) -> None:
    """Goes on with what a thread of a store is done with: a command or a transaction."""
    row = thread_at(sim, thread)
    number = row.unit
    if row.ref < 0:
        command = command_at(sim, row.work)
        # A child that still runs is not forked again.
        if not command.running:
            command.running = 1
            run_job(sim, command.thread, command.child, NONE, NONE)
    elif node_at(sim, row.ref).work == store_at(sim, number).life:
        commit(sim, number, row.ref)
    else:
        bring_again(sim, number, row.ref)
    stand_by(sim, number, thread)


@plain
def commit(sim: Sim, number: int, node: int) -> None:
    """Takes a transaction to its flush, or without one to its delay."""
    store = store_at(sim, number)
    store.page_writes += change_pages(store, poll_at(sim, node_at(sim, node).ref).events, sim.now)
    if store.fsync < 0:
        push(sim, delay_of(sim, station_at(sim, store.station).delay), STORE_COMMITTED, number, node)
        return
    link(sim, server_at(sim, store.committing), node)
    if not store.flushing:
        begin_flush(sim, number)


@plain
def begin_flush(sim: Sim, number: int) -> None:
    """Begins a flush, after the wait for siblings."""
    store = store_at(sim, number)
    store.flushing = 1
    if store.commit_delay > 0.0 and store.in_use - 1 >= store.siblings:
        push(sim, store.commit_delay, STORE_FLUSH, number, store.life)
    else:
        flush(sim, number, store.life)


@plain
def flush(sim: Sim, number: int, life: int) -> None:
    """Flushes what waits to commit, unless the store has been killed since."""
    store = store_at(sim, number)
    if life != store.life:
        return
    committing = server_at(sim, store.committing)
    head = committing.head
    committing.head = -1
    busy = delay_of(sim, store.fsync) * flush_slowdown(store, sim.now)
    busy += store.page_writes
    store.page_writes = 0.0
    push(sim, busy, STORE_FLUSHED, number, head)


@plain
def store_flushed(sim: Sim, number: int, node: int) -> None:
    """Lets the transactions of a flush commit, and begins the next."""
    store = store_at(sim, number)
    lost = node_at(sim, node).work != store.life
    if not lost:
        store.flushes += 1.0
    while node >= 0:
        after = node_at(sim, node).next
        node_at(sim, node).next = -1
        if lost:
            bring_again(sim, number, node)
        else:
            push(sim, delay_of(sim, station_at(sim, store.station).delay), STORE_COMMITTED, number, node)
        node = after
    if lost:
        return
    if server_at(sim, store.committing).head >= 0:
        begin_flush(sim, number)
    else:
        store.flushing = 0


@plain
def store_committed(sim: Sim, number: int, node: int) -> None:
    """Makes a poll visible, hands it on and gives its connection to the next; tells the consumer as its last act."""
    store = store_at(sim, number)
    if node_at(sim, node).work != store.life:
        bring_again(sim, number, node)
        return
    poll = node_at(sim, node).ref
    free(sim, node)
    if not fails(sim, store.station, poll):
        store.commits += 1.0
        hand_on(sim, number, poll)
    store.in_use -= 1
    admit(sim, number)
    reply_last(sim, store.station, poll)


@plain
def hand_on(sim: Sim, number: int, poll: int) -> None:
    """Stamps a poll that has committed and hands it on, by the relay if there is one."""
    store = store_at(sim, number)
    station = station_at(sim, store.station)
    stamp(sim, poll, station.hop)
    if store.relay_work >= 0:
        relay_put(sim, number, poll)
        return
    for at in range(station.link_first, station.link_first + station.links):
        offer(sim, link_at(sim, at).value, poll)


@plain
def bring_again(sim: Sim, number: int, node: int) -> None:
    """A caller brings the poll of a lost transaction again."""
    store = store_at(sim, number)
    store.retried += 1.0
    push_front(sim, server_at(sim, store.waiting), node)
    admit(sim, number)


@plain
def kill_store(sim: Sim, number: int) -> None:
    """Ends a store's process."""
    store = store_at(sim, number)
    if not store.up and not store.starting and not store.drains:
        return
    look_for_checkpoint(store, sim.now)
    if store.drains and store.in_use == 0:
        begin_checkpoint(store, sim.now)
    store.life += 1
    store.up = store.starting = store.flushing = store.drains = 0
    store.in_use = 0
    store.page_writes = 0.0
    waiting = server_at(sim, store.waiting)
    store.retried += float(prepend(sim, waiting, server_at(sim, store.ready)))
    store.retried += float(prepend(sim, waiting, server_at(sim, store.committing)))
    store.relay_up = 0


@cold
def stop_store(sim: Sim, number: int) -> None:
    """Lets a store end in order: it gives no more connections."""
    store = store_at(sim, number)
    if store.up:
        store.up, store.drains = 0, 1
    elif store.starting:
        kill_store(sim, number)


@plain
def start_store(sim: Sim, number: int) -> None:
    """Starts a killed store, which first redoes its log; one that drains still is killed first."""
    store = store_at(sim, number)
    if store.up or store.starting:
        return
    kill_store(sim, number)
    store.starting = 1
    push(sim, store.restart + store.redo * store.events, STORE_RECOVERED, number, store.life)


@plain
def store_recovered(sim: Sim, number: int, life: int) -> None:
    """Lets a store serve again."""
    store = store_at(sim, number)
    if life != store.life:
        return
    store.up, store.starting = 1, 0
    store.recoveries += 1.0
    begin_checkpoint(store, sim.now)
    if store.relay_work >= 0:
        relay_resume(sim, number)
    admit(sim, number)


@cold
def store_event(sim: Sim, kind: int, subject: int, detail: int) -> None:
    """Does what an entry of the calendar says about a store."""
    if kind == STORE_COMMITTED:
        store_committed(sim, subject, detail)
    elif kind == STORE_FLUSHED:
        store_flushed(sim, subject, detail)
    elif kind == STORE_FLUSH:
        flush(sim, subject, detail)
    elif kind == RELAY_LOOK:
        relay_look(sim, subject)
    elif kind == COMMAND_DUE:
        command_due(sim, subject)
    elif kind == PART_TRY:
        try_insert(sim, subject)
    elif kind == EDGE_RECOVERED:
        edge_recovered(sim, subject, detail)
    elif kind == RECONNECT:
        reconnect(sim, subject)
    elif kind == PART_INSERT:
        insert(sim, subject)
    else:
        store_recovered(sim, subject, detail)

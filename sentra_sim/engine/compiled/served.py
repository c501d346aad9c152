"""Pools, stores and the edge: what a poll is handed to."""

from __future__ import annotations

from sentra_sim.engine.compiled.calendar import FLUSHED, HEARD, NONE, REPLY, VISIBLE, WRITER_DUE, delay_of, push, quiet
from sentra_sim.engine.compiled.consumers import consumer_done
from sentra_sim.engine.compiled.hosts import run_job
from sentra_sim.engine.compiled.jobs import next_job
from sentra_sim.engine.compiled.memory import Sim, inline, link_at, node_at, plain, poll_at, station_at, thread_at
from sentra_sim.engine.compiled.polls import offer, stamp
from sentra_sim.engine.compiled.queues import free
from sentra_sim.engine.compiled.tables import SEND, SERVE, SUBSCRIBE


@plain
def visible(sim: Sim, number: int, poll: int) -> None:
    """Stamps a poll and hands it on."""
    station = station_at(sim, number)
    stamp(sim, poll, station.hop)
    for at in range(station.link_first, station.link_first + station.links):
        offer(sim, link_at(sim, at).value, poll)


@plain
def reply_last(sim: Sim, number: int, poll: int) -> None:
    """Tells the consumer if it waits for a station, as the last act of whatever calls it."""
    if not station_at(sim, number).called:
        return
    if quiet(sim):
        consumer_done(sim, poll_at(sim, poll).replica)
    else:
        push(sim, 0.0, REPLY, poll_at(sim, poll).replica, NONE)


@plain
def writer_next(sim: Sim, number: int) -> None:
    """Lets a writer wait for polls, unless there are some."""
    if station_at(sim, number).head < 0:
        station_at(sim, number).writer_waiting = 1
    else:
        writer_due(sim, number)


@plain
def writer_due(sim: Sim, number: int) -> None:
    """Lets a writer wait until it may write again."""
    station, now = station_at(sim, number), sim.now
    if station.last_start < 0.0:
        station.last_start = now
    wait = station.last_start + station.flush - now
    if wait > 0.0:
        push(sim, wait, WRITER_DUE, number, NONE)
    else:
        write(sim, number)


@plain
def write(sim: Sim, number: int) -> None:
    """Writes all gathered polls as one job."""
    station = station_at(sim, number)
    station.last_start = sim.now
    frames, events, node = 0, 0, station.head
    while node >= 0:
        frames += poll_at(sim, node_at(sim, node).ref).frames
        events += poll_at(sim, node_at(sim, node).ref).events
        node = node_at(sim, node).next
    thread_at(sim, station.thread).ref = station.head
    station.head = -1
    run_job(sim, station.thread, station.work, frames, events)


@plain
def flushed(sim: Sim, number: int, node: int) -> None:
    """Makes the polls of a job visible and frees their nodes."""
    while node >= 0:
        after = node_at(sim, node).next
        poll = node_at(sim, node).ref
        free(sim, node)
        visible(sim, number, poll)
        if station_at(sim, number).called:
            push(sim, 0.0, REPLY, poll_at(sim, poll).replica, NONE)
        node = after


@inline
def station_done(sim: Sim, thread: int) -> None:
    """Goes on with a poll that a thread of a pool, a store or a broadcast is done with."""
    row = thread_at(sim, thread)
    role, ref, station = row.role, row.ref, station_at(sim, row.unit)
    if role == SERVE:
        push(sim, delay_of(sim, station.delay), VISIBLE, row.unit, ref)
        next_job(sim, thread)
    elif role == SEND:
        stamp(sim, ref, station.hop)
        push(sim, delay_of(sim, station.delay), HEARD, row.unit, ref)
        next_job(sim, thread)
    elif role == SUBSCRIBE:
        stamp(sim, ref, station.second_hop)
        next_job(sim, thread)
    else:
        push(sim, delay_of(sim, station.delay), FLUSHED, row.unit, ref)
        writer_next(sim, row.unit)

"""A store that gathers polls and flushes them."""

from __future__ import annotations

from sentra_sim.engine.compiled.calendar import FLUSHED, NONE, REPLY, WRITER_DUE, delay_of, push
from sentra_sim.engine.compiled.hosts import run_job
from sentra_sim.engine.compiled.memory import Sim, node_at, plain, poll_at, station_at, thread_at
from sentra_sim.engine.compiled.queues import free
from sentra_sim.engine.compiled.served import visible


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
            push(sim, 0.0, REPLY, poll, NONE)
        node = after


@plain
def written(sim: Sim, thread: int) -> None:
    """Lets the polls of a job become visible, and the writer write on."""
    row = thread_at(sim, thread)
    push(sim, delay_of(sim, station_at(sim, row.unit).delay), FLUSHED, row.unit, row.ref)
    writer_next(sim, row.unit)

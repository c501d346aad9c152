"""The loop of the compiled engine: takes the next entry off the calendar and does what it says."""

from __future__ import annotations

from typing import Any

import numba

from sentra_sim.engine.compiled.apart import charge_cut_off, play_apart
from sentra_sim.engine.compiled.background import tick, tick_wait
from sentra_sim.engine.compiled.batcher import count_open, tick_linger
from sentra_sim.engine.compiled.calendar import (
    ACK,
    ALARM,
    ARRIVE,
    AVAILABLE,
    DONE,
    FLUSHED,
    GOT,
    HANDED,
    HEARD,
    LAG,
    LINGER,
    NONE,
    PUT,
    REPLY,
    RETAIN,
    SLICE,
    SOURCE_DUE,
    TICK_DUE,
    VISIBLE,
    WAKE,
    WRITER_DUE,
    WRITER_WOKEN,
    kind_of,
    next_is_due,
    next_time,
    pop,
    push,
    subject_of,
)
from sentra_sim.engine.compiled.consumers import replied, resume
from sentra_sim.engine.compiled.gateway import comes
from sentra_sim.engine.compiled.hosts import charge_unfinished
from sentra_sim.engine.compiled.jobs import got, put_last
from sentra_sim.engine.compiled.memory import Sim, inline, ring_at, station_at, thread_at
from sentra_sim.engine.compiled.pressure import begin_pressure, end_pressure
from sentra_sim.engine.compiled.queues import get_job, match_jobs
from sentra_sim.engine.compiled.rare import rare_event
from sentra_sim.engine.compiled.requests import acked, fetched
from sentra_sim.engine.compiled.served import reply_last, visible
from sentra_sim.engine.compiled.sharing import leave_sharing
from sentra_sim.engine.compiled.slicing import end_slice
from sentra_sim.engine.compiled.source import source_next, source_send
from sentra_sim.engine.compiled.stores import flushed, write, writer_due
from sentra_sim.engine.compiled.subscribers import count_pending
from sentra_sim.engine.compiled.threads import done
from sentra_sim.engine.compiled.transactions import arm_commands
from sentra_sim.engine.compiled.vacations import begin_vacations


@inline
def _dispatch(sim: Sim, kind: int, subject: int, detail: int) -> None:  # noqa: PLR0912 - one branch a kind
    if kind == SLICE:
        if end_slice(sim, subject, detail):
            done(sim, subject)
    elif kind == DONE:
        done(sim, subject)
    elif kind == GOT:
        got(sim, subject)
    elif kind == PUT:
        first = match_jobs(sim, subject)
        if first >= 0:
            got(sim, first)
    elif kind == ALARM:
        thread = leave_sharing(sim, subject, detail)
        if thread >= 0:
            done(sim, thread)
    elif kind == SOURCE_DUE:
        source_send(sim)
    elif kind == ARRIVE:
        if sim.mortal:
            comes(sim, subject)
        else:
            put_last(sim, sim.batcher_server, sim.receive_work, subject)
    elif kind == LINGER:
        tick_linger(sim)
    elif kind == ACK:
        acked(sim, subject)
    elif kind == AVAILABLE:
        fetched(sim, subject)
    elif kind == WAKE:
        resume(sim, subject, detail)
    elif kind == REPLY:
        replied(sim, subject)
    elif kind == VISIBLE:
        visible(sim, subject, detail)
        reply_last(sim, subject, detail)
    elif kind == FLUSHED:
        flushed(sim, subject, detail)
    elif kind == WRITER_WOKEN:
        writer_due(sim, subject)
    elif kind == WRITER_DUE:
        write(sim, subject)
    elif kind == HANDED:
        put_last(sim, station_at(sim, subject).server, station_at(sim, subject).work, detail)
    elif kind == HEARD:
        put_last(sim, station_at(sim, subject).second_server, station_at(sim, subject).second_work, detail)
    elif kind == TICK_DUE:
        tick(sim, subject)
    else:
        rare_event(sim, kind, subject, detail)


@numba.njit(cache=True, error_model="numpy")
def begin(tables: Any) -> None:
    """Lets every thread wait for its first job, and the load and the background jobs begin."""
    sim = tables[0]
    for thread in range(sim.thread_count):
        if thread_at(sim, thread).server >= 0:
            first = get_job(sim, thread)
            if first >= 0:  # a change at the very start has queued a job, which begins when all wait
                push(sim, 0.0, GOT, first, NONE)
    if sim.replica_lag > 0.0:
        push(sim, sim.replica_lag / 2.0, LAG, NONE, NONE)
    if sim.retains:
        push(sim, sim.retention_check, RETAIN, NONE, NONE)
    begin_pressure(sim)
    source_next(sim)
    for number in range(sim.background_count):
        tick_wait(sim, number)
    begin_vacations(sim)


@numba.njit(cache=True, error_model="numpy")
def arm(tables: Any) -> None:
    """Sets the timers that are set before anything else."""
    for number in range(tables[0].store_count):
        arm_commands(tables[0], number)


@numba.njit(cache=True, error_model="numpy")
def play_until(tables: Any, end: float) -> None:
    """Plays all events before a time and comes to it. Returns early when the supply has failed."""
    sim = tables[0]
    while not sim.failed:
        if sim.ring_size > 0 and not next_is_due(sim, ring_at(sim, sim.ring_head).seq):
            if sim.now >= end:
                return
            entry = ring_at(sim, sim.ring_head)
            sim.ring_head = (sim.ring_head + 1) & (sim.room - 1)
            sim.ring_size -= 1
        else:
            if sim.soon_size + sim.heap_size == 0 or next_time(sim) >= end:
                sim.now = max(sim.now, end)
                return
            entry = pop(sim)
            sim.now = entry.time
        kind, subject, detail = kind_of(entry), subject_of(entry), entry.detail
        _dispatch(sim, kind, subject, detail)


@numba.njit(cache=True, error_model="numpy")
def finish(tables: Any) -> None:
    """Accounts for what the end of the run finds unfinished."""
    sim = tables[0]
    play_apart(tables)
    charge_cut_off(sim)
    charge_unfinished(sim)
    count_open(sim)
    end_pressure(sim)
    for number in range(sim.edge_count):
        count_pending(sim, number)

"""The compiled engine: an event calendar over the tables of a plan.

It repeats the reference engine (`reference.py`, which documents the model) event by event. The calendar is ordered by (time,
sequence of scheduling), like SimPy's, and every wake-up that the reference schedules is scheduled here at the same place, so
that ties fall alike.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from sentra_sim.engine._calendar import (
    ACK,
    ALARM,
    ARRIVE,
    AVAILABLE,
    DONE,
    FLUSHED,
    GOT,
    HANDED,
    HEARD,
    LINGER,
    PUT,
    REPLY,
    SLICE,
    SOURCE_DUE,
    VISIBLE,
    WAKE,
    WRITER_DUE,
    WRITER_WOKEN,
    next_is_due,
    pop,
)
from sentra_sim.engine._hosts import charge_unfinished, end_slice, leave_sharing
from sentra_sim.engine._memory import Sim, inline, ring_at, station_at, thread_at
from sentra_sim.engine._queues import get_job, match_jobs
from sentra_sim.engine._stations import (
    available,
    consumer_done,
    done,
    flushed,
    got,
    put_last,
    reply_last,
    take,
    tick,
    tick_wait,
    visible,
    write,
    writer_due,
)
from sentra_sim.engine._upstream import acked, count_open, source_next, source_send, tick_linger
from sentra_sim.engine.plan import Plan
from sentra_sim.engine.tables import Tables, build_tables
from sentra_sim.engine.trace import Trace, host_busy, used_seconds

DRAINED, CAPPED, FULL, OUT_OF_BOUNDS = range(4)


def run_compiled(plan: Plan) -> Trace:
    """Plays a plan with the compiled engine; the result equals `run_reference`'s.

    The first call of a process loads the compiled code from Numba's cache or compiles it, which takes some seconds.
    """
    room = 1024
    while True:
        tables = build_tables(plan, room)
        status = _run(tables.state)
        assert status != OUT_OF_BOUNDS, "more frames than the plan allows for"
        if status != FULL:
            return _trace(plan, tables)
        room *= 8  # more events or queued jobs at one time than there was room for: the same again with more


def _trace(plan: Plan, tables: Tables) -> Trace:
    count = int(tables.state["frames"][0])
    frames = tables.arrays["frame_table"][:count]
    cpu = tables.arrays["cpu"][:, : used_seconds(tables.arrays["cpu"], plan.seconds)].copy()
    return Trace(
        partition=frames["partition"].astype(np.int16),
        events=frames["events"].astype(np.int32),
        poll=frames["poll"].copy(),
        hops_s=tables.arrays["hops"][:count],
        frame=tables.arrays["event_frame"],
        cpu_s=cpu,
        host_busy_s=host_busy(plan.scenario, cpu),
    )


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
        put_last(sim, sim.batcher_server, sim.receive_work, subject)
    elif kind == LINGER:
        tick_linger(sim)
    elif kind == ACK:
        acked(sim, subject)
    elif kind == AVAILABLE:
        available(sim, subject)
    elif kind == WAKE:
        take(sim, subject)
    elif kind == REPLY:
        consumer_done(sim, subject)
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
    else:
        tick(sim, subject)


@numba.njit(cache=True, error_model="numpy")
def _run(tables: Any) -> int:
    """Plays all events until nothing is left, time is up, or a table is full."""
    sim = tables[0]
    for thread in range(sim.thread_count):
        if thread_at(sim, thread).server >= 0:
            get_job(sim, thread)
    source_next(sim)
    for number in range(sim.background_count):
        tick_wait(sim, number)
    while not sim.full:
        if sim.ring_size > 0 and not next_is_due(sim, ring_at(sim, sim.ring_head).seq):
            entry = ring_at(sim, sim.ring_head)
            sim.ring_head = (sim.ring_head + 1) & (sim.room - 1)
            sim.ring_size -= 1
        elif sim.soon_size + sim.heap_size > 0:
            entry = pop(sim)
            if entry.time >= sim.cap:
                sim.now = sim.cap
                charge_unfinished(sim)
                count_open(sim)
                return CAPPED
            sim.now = entry.time
        else:
            return DRAINED
        kind, subject, detail = entry.kind, entry.subject, entry.detail
        _dispatch(sim, kind, subject, detail)
    return FULL if sim.full == 1 else OUT_OF_BOUNDS

"""What a thread does with a job that it takes from its queue."""

from __future__ import annotations

from sentra_sim.engine.compiled.batcher import close_job
from sentra_sim.engine.compiled.calendar import ONE, quiet
from sentra_sim.engine.compiled.hosts import run_job
from sentra_sim.engine.compiled.memory import (
    Sim,
    first_event_at,
    inline,
    plain,
    poll_at,
    request_at,
    server_at,
    thread_at,
)
from sentra_sim.engine.compiled.queues import get_job, link, match_jobs, new_node, put
from sentra_sim.engine.compiled.tables import BATCHER, LOG


@plain
def got(sim: Sim, thread: int) -> None:
    """A thread begins the job that it took from its queue."""
    row = thread_at(sim, thread)
    if row.role == BATCHER:
        if row.work == sim.close_work:
            close_job(sim, thread, row.work, row.ref)
        else:
            run_job(
                sim, thread, row.work, ONE, first_event_at(sim, row.ref + 1).value - first_event_at(sim, row.ref).value
            )
    elif row.role == LOG:
        run_job(sim, thread, row.work, request_at(sim, row.ref).frames, request_at(sim, row.ref).events)
    else:
        run_job(sim, thread, row.work, poll_at(sim, row.ref).frames, poll_at(sim, row.ref).events)


@plain
def put_last(sim: Sim, server: int, work: int, ref: int) -> None:
    """Queues a job, as the last act of whatever calls it."""
    if not quiet(sim):
        put(sim, server, work, ref)
        return
    queue = server_at(sim, server)
    link(sim, queue, new_node(sim, work, ref))
    first = match_jobs(sim, server)
    if first >= 0:
        got(sim, first)


@inline
def next_job(sim: Sim, thread: int) -> None:
    """Lets a thread take its next job or wait for one; the last act of whatever calls it."""
    first = get_job(sim, thread)
    if first >= 0:
        got(sim, first)

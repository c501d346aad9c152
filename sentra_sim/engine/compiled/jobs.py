"""What a thread does with a job that it takes from its queue."""

from __future__ import annotations

from sentra_sim.engine.compiled.batcher import close_job
from sentra_sim.engine.compiled.calendar import NONE, ONE, quiet
from sentra_sim.engine.compiled.hosts import run_job
from sentra_sim.engine.compiled.layout import BATCHER, CLIENT, FAN, LOG, SPLITS
from sentra_sim.engine.compiled.memory import (
    Row,
    Sim,
    cold,
    edge_at,
    first_event_at,
    inline,
    plain,
    poll_at,
    request_at,
    server_at,
    slow_at,
    station_at,
    thread_at,
)
from sentra_sim.engine.compiled.queues import get_job, link, match_jobs, new_node, put
from sentra_sim.engine.compiled.releases import begin_split


@cold
def begin_fan(sim: Sim, thread: int) -> None:
    """Begins a job of an edge with subscribers when the edge is up, with letting in its fast clients if it was down."""
    edge = edge_at(sim, station_at(sim, thread_at(sim, thread).unit).store)
    if not edge.up:
        edge.parked = thread
        return
    edge.job_life = edge.life
    if edge.welcome:
        edge.welcome = 0
        edge.welcoming = 1
        run_job(sim, thread, edge.connect_work, fast_clients(sim, edge), NONE)
    else:
        start_fan(sim, thread)


@plain
def start_fan(sim: Sim, thread: int) -> None:
    """Starts what an edge's thread has taken from its queue: encoding a poll, or letting slow clients in."""
    row = thread_at(sim, thread)
    station = station_at(sim, row.unit)
    if row.work == station.work:
        edge_at(sim, station.store).encoding = 1
        run_job(sim, thread, row.work, poll_at(sim, row.ref).frames, poll_at(sim, row.ref).events)
    else:
        slow = slow_at(sim, row.ref)
        run_job(sim, thread, row.work, int(slow.clients), int(slow.missed * slow.clients))


@plain
def fast_clients(sim: Sim, edge: Row) -> int:
    """Counts the subscribers that are not slow."""
    fast = edge.count
    for at in range(edge.first, edge.first + edge.classes):
        fast -= slow_at(sim, at).clients
    return int(fast)


@plain
def got(sim: Sim, thread: int) -> None:
    """A thread begins the job that it took from its queue."""
    row = thread_at(sim, thread)
    if row.role in (BATCHER, CLIENT):
        if row.work == sim.close_work:
            close_job(sim, thread, row.work, row.ref)
        else:
            run_job(
                sim, thread, row.work, ONE, first_event_at(sim, row.ref + 1).value - first_event_at(sim, row.ref).value
            )
    elif row.role == LOG:
        run_job(sim, thread, row.work, request_at(sim, row.ref).frames, request_at(sim, row.ref).events)
    elif row.role == SPLITS:
        begin_split(sim, thread)
    elif row.role == FAN:
        begin_fan(sim, thread)
    else:
        run_job(sim, thread, row.work, poll_at(sim, row.ref).frames, poll_at(sim, row.ref).events)


@plain
def put_last(sim: Sim, server: int, work: int, ref: int) -> None:
    """Queues a job, as the last act of whatever calls it."""
    if not quiet(sim):
        put(sim, server, work, ref)
        return
    queue = server_at(sim, server)
    thread = queue.idle_head
    if thread >= 0 and queue.head < 0:  # what follows, without a node for the job
        row = thread_at(sim, thread)
        queue.idle_head, row.work, row.ref = row.next, work, ref
        got(sim, thread)
        return
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

"""Jobs on hosts: what they demand, and where they get it. `reference/hosts.py` is the model."""

from __future__ import annotations

import math

from sentra_sim.engine.compiled.calendar import (
    NONE,
    TURN,
    charge,
    push,
)
from sentra_sim.engine.compiled.draws import draw
from sentra_sim.engine.compiled.heaps import heap_remove_first
from sentra_sim.engine.compiled.memory import (
    Row,
    Sim,
    cgroup_at,
    cold,
    entry_at,
    host_at,
    inline,
    lane_at,
    plain,
    thread_at,
    vacation_at,
    work_at,
)
from sentra_sim.engine.compiled.sharing import (
    advance_clock,
    charge_share,
    join_sharing,
)
from sentra_sim.engine.compiled.slicing import (
    append_lane,
    next_running,
    preempt,
    start_slice,
)


@plain
def run_job(sim: Sim, thread: int, work: int, frames: int, events: int) -> None:
    """Starts a thread's job: its demand, then a core or a place in the queue."""
    job = work_at(sim, work)
    demand = (job.job + job.frame * frames + job.event * events) * job.factor * draw(sim, job)
    spend_on(sim, thread, job, demand, events)


@plain
def amount(sim: Sim, work: int, frames: int, events: int) -> float:
    """Returns what a job costs, warm-up and cold term apart."""
    job = work_at(sim, work)
    return (job.job + job.frame * frames + job.event * events) * job.factor * draw(sim, job)  # type: ignore[no-any-return]


@plain
def spend(sim: Sim, thread: int, work: int, demand: float, events: int) -> None:
    """Starts a thread's job on so many events that costs so much, and the cold term of a kind of work."""
    spend_on(sim, thread, work_at(sim, work), demand, events)


@inline
def spend_on(sim: Sim, thread: int, job: Row, demand: float, events: int) -> None:
    """Adds what the process and the cold cost to a job's demand and gives its thread a core or a place in the queue."""
    row = thread_at(sim, thread)
    host = host_at(sim, row.host)
    if host.watched > 0:
        demand = watched(sim, row.cgroup, demand, events)
    if job.cold > 0.0:
        gap = sim.now - row.finished
        demand += job.cold * (gap / (gap + job.tau) if row.finished >= 0.0 else 1.0)
    if host.speed != 1.0:
        demand /= host.speed
    row.asked = row.remaining = demand
    if host.watched > 0 and cgroup_at(sim, row.cgroup).holds > 0:
        park(sim, thread)
    else:
        submit(sim, thread)


@cold
def watched(sim: Sim, number: int, demand: float, events: int) -> float:
    """Returns the demand of a job on a process that is so far from warm, and counts its events towards a collection."""
    cgroup = cgroup_at(sim, number)
    for at in range(cgroup.collector_first, cgroup.collector_first + cgroup.collectors):
        row = vacation_at(sim, at)
        row.events += events
        if row.events >= row.every and not row.due:
            row.events, row.due = 0, 1
            push(sim, 0.0, TURN, at, NONE)
    if cgroup.warm_cpu == 0.0:
        return demand
    factor = 1.0 + cgroup.warm_factor * math.exp(-cgroup.done / cgroup.warm_cpu)
    cgroup.done += demand
    return demand * factor  # type: ignore[no-any-return]


@inline
def submit(sim: Sim, thread: int) -> None:
    """Gives a thread with a job a core, or a place in the queue, or a share."""
    row = thread_at(sim, thread)
    host = host_at(sim, row.host)
    if host.ps:
        join_sharing(sim, thread)
    elif host.idle > 0:
        host.idle -= 1
        start_slice(sim, thread)
    elif not row.low and host.low_running > 0:
        preempt(sim, row.host)
        start_slice(sim, thread)
    else:
        append_lane(sim, thread)


@cold
def park(sim: Sim, thread: int) -> None:
    """Keeps a thread with a job until its cgroup is let go."""
    cgroup = cgroup_at(sim, thread_at(sim, thread).cgroup)
    thread_at(sim, thread).next = -1
    if cgroup.parked_head < 0:
        cgroup.parked_head = thread
    else:
        thread_at(sim, cgroup.parked_tail).next = thread
    cgroup.parked_tail = thread


@plain
def charge_unfinished(sim: Sim) -> None:
    """Books what the jobs that the end of the run cuts off have used."""
    for host in range(sim.host_count):
        advance_clock(sim, host)
        for number in range(2 * host, 2 * host + 2):
            lane = lane_at(sim, number)
            while lane.active > 0:
                charge_share(sim, entry_at(lane.jobs, 0).detail, lane.virtual)
                lane.active -= 1
                heap_remove_first(lane.jobs, lane.active)
    for cgroup in range(sim.cgroup_count):
        thread = next_running(sim, cgroup, 0)
        while thread >= 0:
            row = thread_at(sim, thread)
            charge(sim, row.process, row.started, sim.now)
            thread = next_running(sim, cgroup, row.start_number)

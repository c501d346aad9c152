"""Hosts of the compiled engine: FIFO with a time slice, processor sharing, and the CPU accounts. `reference/hosts.py` is the model."""

from __future__ import annotations

import math

from sentra_sim.engine.compiled.calendar import (
    ALARM,
    DONE,
    NONE,
    SLICE,
    TURN,
    charge,
    push,
    quiet,
)
from sentra_sim.engine.compiled.draws import draw
from sentra_sim.engine.compiled.heaps import heap_insert, heap_remove_first
from sentra_sim.engine.compiled.limits import change_running
from sentra_sim.engine.compiled.memory import (
    Row,
    Sim,
    cgroup_at,
    cold,
    cpu_at,
    entry_at,
    host_at,
    inline,
    lane_at,
    plain,
    thread_at,
    vacation_at,
    virtual_at,
    work_at,
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
def append_lane(sim: Sim, thread: int) -> None:
    """Queues a thread for a core."""
    lane = lane_at(sim, thread_at(sim, thread).lane)
    thread_at(sim, thread).next = -1
    if lane.head < 0:
        lane.head = thread
    else:
        thread_at(sim, lane.tail).next = thread
    lane.tail = thread


@inline
def start_slice(sim: Sim, thread: int) -> None:
    """Lets a thread run on a core until its slice or its job ends."""
    row = thread_at(sim, thread)
    host = host_at(sim, row.host)
    row.ran = min(row.remaining, host.slice)
    row.started = sim.now
    row.running = 1
    row.token += 1
    host.low_running += row.low
    host.starts += 1
    row.start_number = host.starts
    push(sim, row.ran, SLICE, thread, row.token)
    if host.limited:
        change_running(sim, row.cgroup, 1)


@plain
def preempt(sim: Sim, host: int) -> None:
    """Takes the core from the low-priority thread that started its slice first; it goes to the head of its lane."""
    victim = -1
    for thread in range(sim.thread_count):
        row = thread_at(sim, thread)
        if row.host != host or not row.running or not row.low:
            continue
        if victim < 0 or row.start_number < thread_at(sim, victim).start_number:
            victim = thread
    leave_core(sim, victim)
    row = thread_at(sim, victim)
    lane = lane_at(sim, row.lane)
    row.next = lane.head
    if lane.head < 0:
        lane.tail = victim
    lane.head = victim


@plain
def leave_core(sim: Sim, thread: int) -> None:
    """Takes a thread off its core within its slice."""
    row, now = thread_at(sim, thread), sim.now
    charge(sim, row.process, row.started, now)
    row.remaining = max(0.0, row.remaining - (now - row.started))
    row.running = 0
    row.token += 1  # the slice's end, still in the calendar, finds another token
    host_at(sim, row.host).low_running -= row.low
    if host_at(sim, row.host).limited:
        change_running(sim, row.cgroup, -1)


@inline
def end_slice(sim: Sim, thread: int, token: int) -> bool:
    """Ends a slice, unless the thread was preempted in it, and gives the core to the next thread.

    Returns whether the thread's job is done and nothing else comes before what the thread does next.
    """
    row = thread_at(sim, thread)
    if token != row.token:
        return False
    host = host_at(sim, row.host)
    charge(sim, row.process, row.started, sim.now)
    row.running = 0
    host.low_running -= row.low
    row.remaining -= row.ran
    if host.limited:
        change_running(sim, row.cgroup, -1)
    goes_on = False
    if row.remaining > 0.0:
        append_lane(sim, thread)
    else:
        goes_on = finish(sim, thread)
    start_next(sim, row.host)
    return goes_on


@inline
def start_next(sim: Sim, host: int) -> None:
    """Gives a core that became free to the next thread."""
    for number in range(2 * host, 2 * host + 2):
        lane = lane_at(sim, number)
        if lane.head >= 0:
            first = lane.head
            lane.head = thread_at(sim, first).next
            start_slice(sim, first)
            return
    host_at(sim, host).idle += 1


@inline
def finish(sim: Sim, thread: int) -> bool:
    """Ends a thread's job. Returns whether the caller's caller goes on with the thread; else the calendar does."""
    thread_at(sim, thread).finished = sim.now
    if quiet(sim):
        return True
    push(sim, 0.0, DONE, thread, NONE)
    return False


@plain
def join_sharing(sim: Sim, thread: int) -> None:
    """Lets a job share the cores from now on."""
    advance_clock(sim, thread_at(sim, thread).host)
    enter_lane(sim, thread)
    set_alarm(sim, thread_at(sim, thread).host)


@inline
def enter_lane(sim: Sim, thread: int) -> None:
    """Puts a thread's job among those of its lane, whose clock shows now."""
    row = thread_at(sim, thread)
    lane = lane_at(sim, row.lane)
    row.started = sim.now
    row.virtual_start = lane.virtual
    finish = lane.virtual + row.remaining
    lane.joined += 1
    entry = heap_insert(lane.jobs, lane.active, finish, lane.joined)
    lane.active += 1
    entry.time, entry.seq, entry.detail = finish, lane.joined, thread


@plain
def advance_clock(sim: Sim, host: int) -> None:
    """Brings the virtual clocks of both lanes to now: each runs at the rate at which one job of its lane is served."""
    row, now = host_at(sim, host), sim.now
    for number in range(2 * host, 2 * host + 2):
        lane = lane_at(sim, number)
        for second in range(int(row.clock) + 1, int(now) + 1):
            virtual_at(sim, number, second).value = lane.virtual + (second - row.clock) * lane.rate
        lane.virtual += (now - row.clock) * lane.rate
    row.clock = now


@plain
def set_alarm(sim: Sim, host: int) -> None:
    """Sets the rates for the jobs present, and the alarm for the one that will be done first."""
    row, normal, low = host_at(sim, host), lane_at(sim, 2 * host), lane_at(sim, 2 * host + 1)
    normal.rate = min(1.0, row.cores / normal.active) if normal.active > 0 else 0.0
    low.rate = min(1.0, (row.cores - min(normal.active, row.cores)) / low.active) if low.active > 0 else 0.0
    row.alarm += 1
    next_lane, wait = -1, 0.0
    for number in range(2 * host, 2 * host + 2):
        lane = lane_at(sim, number)
        if lane.rate > 0.0:
            left = max(0.0, (entry_at(lane.jobs, 0).time - lane.virtual) / lane.rate)
            if next_lane < 0 or left < wait:
                next_lane, wait = number, left
    if next_lane >= 0:
        push(sim, wait, ALARM, next_lane, row.alarm)


@plain
def leave_sharing(sim: Sim, number: int, alarm: int) -> int:
    """Ends the first job of a lane, unless jobs came or went since the alarm was set.

    Returns its thread if nothing else comes before what the thread does next, else -1.
    """
    host = number >> 1
    if alarm != host_at(sim, host).alarm:
        return -1
    advance_clock(sim, host)
    lane = lane_at(sim, number)
    end, thread = entry_at(lane.jobs, 0).time, entry_at(lane.jobs, 0).detail
    lane.virtual = max(lane.virtual, end)
    lane.active -= 1
    heap_remove_first(lane.jobs, lane.active)
    charge_share(sim, thread, end)
    goes_on = finish(sim, thread)
    set_alarm(sim, host)
    return thread if goes_on else -1


@plain
def charge_share(sim: Sim, thread: int, end: float) -> None:
    """Books what a sharing job got until its lane's clock showed `end`."""
    row = thread_at(sim, thread)
    last = int(sim.now)
    got = row.virtual_start
    for second in range(int(row.started), last + 1):
        upto = min(virtual_at(sim, row.lane, second + 1).value, end) if second < last else end
        cpu_at(sim, row.process, second).value += upto - got
        got = upto


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


@plain
def next_running(sim: Sim, cgroup: int, after: int) -> int:
    """Returns the thread of a cgroup that got its core first of those later than start number `after`, or -1."""
    first, thread = -1, cgroup_at(sim, cgroup).thread_head
    while thread >= 0:
        row = thread_at(sim, thread)
        later = row.running and row.start_number > after
        if later and (first < 0 or row.start_number < thread_at(sim, first).start_number):
            first = thread
        thread = row.sibling
    return first

"""Hosts that serve one run queue in turns of a time slice. `reference/slicing.py` is the model."""

from __future__ import annotations

from sentra_sim.engine.compiled.calendar import (
    DONE,
    NONE,
    SLICE,
    charge,
    push,
    quiet,
)
from sentra_sim.engine.compiled.limits import change_running
from sentra_sim.engine.compiled.memory import (
    Sim,
    cgroup_at,
    host_at,
    inline,
    lane_at,
    plain,
    thread_at,
)


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

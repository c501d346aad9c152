"""Cgroups of the compiled engine: all threads of a process stopped and let go together. `reference/hosts.py` is the model."""

from __future__ import annotations

import numpy as np

from sentra_sim.engine.compiled.calendar import NONE, REPLY, push
from sentra_sim.engine.compiled.heaps import heap_insert, heap_remove_first
from sentra_sim.engine.compiled.hosts import park, submit
from sentra_sim.engine.compiled.memory import Sim, cgroup_at, cold, entry_at, host_at, lane_at, plain, thread_at
from sentra_sim.engine.compiled.sharing import advance_clock, charge_share, set_alarm
from sentra_sim.engine.compiled.slicing import leave_core, next_running, start_next


@plain
def hold(sim: Sim, number: int) -> None:
    """Takes all threads of a cgroup off their cores and out of the queue, where they stand."""
    cgroup = cgroup_at(sim, number)
    cgroup.holds += 1
    if cgroup.holds > 1:
        return
    host_at(sim, cgroup.host).watched += 1
    if host_at(sim, cgroup.host).ps:
        withdraw_shares(sim, number)
    else:
        withdraw_slices(sim, number)


@plain
def release(sim: Sim, number: int) -> None:
    """Takes one reason to hold a cgroup away; with the last one its threads queue for a core again."""
    cgroup = cgroup_at(sim, number)
    cgroup.holds -= 1
    if cgroup.holds > 0:
        return
    host_at(sim, cgroup.host).watched -= 1
    thread, cgroup.parked_head = cgroup.parked_head, -1
    while thread >= 0:
        after = thread_at(sim, thread).next
        submit(sim, thread)
        thread = after
    if cgroup.reply >= 0:
        push(sim, 0.0, REPLY, cgroup.reply, NONE)
        cgroup.reply = -1


@plain
def start_anew(sim: Sim, number: int) -> None:
    """Makes a new process of a cgroup: its jobs under way begin again, and its caches are cold."""
    hold(sim, number)
    thread = cgroup_at(sim, number).parked_head
    while thread >= 0:
        thread_at(sim, thread).remaining = thread_at(sim, thread).asked
        thread = thread_at(sim, thread).next
    cool(sim, number)
    release(sim, number)


@cold
def renew(sim: Sim, number: int) -> None:
    """Makes a new process of a cgroup, whose jobs somebody else has given up: no signal stops it, and its caches are cold."""
    signal(sim, number, False)
    cool(sim, number)


@plain
def cool(sim: Sim, number: int) -> None:
    """Forgets what is warm in a process."""
    thread = cgroup_at(sim, number).thread_head
    while thread >= 0:
        thread_at(sim, thread).finished = -1.0
        thread = thread_at(sim, thread).sibling
    cgroup_at(sim, number).done = 0.0


@cold
def signal(sim: Sim, number: int, stop: bool) -> None:
    """Stops a process until it is let go on; a second signal changes nothing."""
    cgroup = cgroup_at(sim, number)
    if (cgroup.stopped > 0) == stop:
        return
    cgroup.stopped = int(stop)
    if stop:
        hold(sim, number)
    else:
        release(sim, number)


@cold
def cancel_job(sim: Sim, thread: int) -> None:
    """Drops a thread's job, if it has one, as its process has ended, and books what it has used."""
    row = thread_at(sim, thread)
    cgroup, lane = cgroup_at(sim, row.cgroup), lane_at(sim, row.lane)
    if cgroup.holds > 0:
        cgroup.parked_head, cgroup.parked_tail = without(sim, cgroup.parked_head, cgroup.parked_tail, thread)
    elif host_at(sim, row.host).ps:
        cancel_share(sim, thread)
    elif row.running:
        leave_core(sim, thread)
        start_next(sim, row.host)
    else:
        lane.head, lane.tail = without(sim, lane.head, lane.tail, thread)


@cold
def without(sim: Sim, head: int, tail: int, thread: int) -> tuple[int, int]:
    """Takes a thread out of a list of threads, if it is in it. Returns the list's ends."""
    last, at = -1, head
    while at >= 0 and at != thread:
        last, at = at, thread_at(sim, at).next
    if at < 0:
        return head, tail
    if last < 0:
        head = thread_at(sim, at).next
    else:
        thread_at(sim, last).next = thread_at(sim, at).next
    return head, last if tail == thread else tail


@cold
def cancel_share(sim: Sim, thread: int) -> None:
    """Takes a thread's job on a sharing host away, if it has one; the others share what it had."""
    row = thread_at(sim, thread)
    lane, at = lane_at(sim, row.lane), 0
    advance_clock(sim, row.host)
    while at < lane.active and entry_at(lane.jobs, at).detail != thread:
        at += 1
    if at < lane.active:
        take_share(sim, row.lane, at)
        set_alarm(sim, row.host)


@plain
def withdraw_slices(sim: Sim, number: int) -> None:
    """Parks a cgroup's jobs: those on a core in the order in which they got it, then those that wait in theirs."""
    host, freed = cgroup_at(sim, number).host, 0
    thread = next_running(sim, number, 0)
    while thread >= 0:
        leave_core(sim, thread)
        park(sim, thread)
        freed += 1
        thread = next_running(sim, number, 0)
    for lane in range(2 * host, 2 * host + 2):
        withdraw_waiting(sim, number, lane)
    for _ in range(freed):
        start_next(sim, host)


@plain
def withdraw_waiting(sim: Sim, number: int, lane: int) -> None:
    """Parks those of a cgroup that wait in a lane."""
    row = lane_at(sim, lane)
    thread, kept, row.head = row.head, -1, -1
    while thread >= 0:
        after = thread_at(sim, thread).next
        if thread_at(sim, thread).cgroup == number:
            park(sim, thread)
        else:
            thread_at(sim, thread).next = -1
            if kept < 0:
                row.head = thread
            else:
                thread_at(sim, kept).next = thread
            kept = row.tail = thread
        thread = after


@plain
def withdraw_shares(sim: Sim, number: int) -> None:
    """Parks a cgroup's jobs in the order in which they would have been done."""
    host, found = cgroup_at(sim, number).host, False
    advance_clock(sim, host)
    for lane in range(2 * host, 2 * host + 2):
        at = first_share(sim, number, lane)
        while at >= 0:
            park(sim, take_share(sim, lane, at))
            found = True
            at = first_share(sim, number, lane)
    if found:
        set_alarm(sim, host)


@plain
def first_share(sim: Sim, number: int, lane: int) -> int:
    """Returns the place in a lane's heap of the job of a cgroup that would be done first, or -1."""
    jobs, first = lane_at(sim, lane).jobs, -1
    for at in range(lane_at(sim, lane).active):
        entry = entry_at(jobs, at)
        if thread_at(sim, entry.detail).cgroup != number:
            continue
        least = entry_at(jobs, max(first, 0))
        if first < 0 or entry.time < least.time or (entry.time == least.time and entry.seq < least.seq):
            first = at
    return first


@plain
def take_share(sim: Sim, lane: int, at: int) -> int:
    """Takes the job at a place of a lane's heap out and returns its thread."""
    row = lane_at(sim, lane)
    end, thread = entry_at(row.jobs, at).time, entry_at(row.jobs, at).detail
    heap_insert(row.jobs, at, -np.inf, 0)  # moves those above it down: what leaves is the first then
    row.active -= 1
    heap_remove_first(row.jobs, row.active)
    thread_at(sim, thread).remaining = max(0.0, end - row.virtual)
    charge_share(sim, thread, row.virtual)
    return thread  # type: ignore[no-any-return]

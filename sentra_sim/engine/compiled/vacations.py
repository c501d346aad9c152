"""Times in which processes or hosts do nothing. `reference/vacations.py` and `reference/limits.py` are the models."""

from __future__ import annotations

from sentra_sim.engine.compiled.calendar import NONE, REFILL, TURN, delay_of, push
from sentra_sim.engine.compiled.freezer import hold, release
from sentra_sim.engine.compiled.host_tables import REST, STALL
from sentra_sim.engine.compiled.hosts import park, submit
from sentra_sim.engine.compiled.layout import NEIGHBOUR
from sentra_sim.engine.compiled.limits import count_use
from sentra_sim.engine.compiled.memory import (
    Sim,
    cgroup_at,
    host_at,
    lane_at,
    plain,
    thread_at,
    vacation_at,
)
from sentra_sim.engine.compiled.sharing import advance_clock, set_alarm
from sentra_sim.engine.compiled.slicing import append_lane, leave_core, start_next
from sentra_sim.engine.plan import ENDLESS_S


@plain
def begin_vacations(sim: Sim) -> None:
    """Waits for the first pauses, and lets the threads of neighbours begin; each has one job without end."""
    for number in range(sim.vacation_count):
        if vacation_at(sim, number).every == 0:
            push(sim, delay_of(sim, vacation_at(sim, number).gap), TURN, number, NONE)
    for thread in range(sim.thread_count):
        row = thread_at(sim, thread)
        if row.role != NEIGHBOUR:
            continue
        row.asked = row.remaining = ENDLESS_S
        if cgroup_at(sim, row.cgroup).holds > 0:
            park(sim, thread)
        else:
            submit(sim, thread)


@plain
def turn(sim: Sim, number: int) -> None:
    """Begins or ends a pause of a process or a host, or of a neighbour's rest."""
    row = vacation_at(sim, number)
    row.under_way = 1 - row.under_way
    if row.kind == STALL:
        if row.under_way:
            stall(sim, row.subject)
        else:
            go_on(sim, row.subject)
    elif row.under_way == (row.kind == REST):
        release(sim, row.subject)
    else:
        hold(sim, row.subject)
    if row.under_way:
        push(sim, delay_of(sim, row.length), TURN, number, NONE)
    elif row.every == 0:
        push(sim, delay_of(sim, row.gap), TURN, number, NONE)
    else:
        row.due = 0


@plain
def stall(sim: Sim, number: int) -> None:
    """Stops all cores of a host: what runs goes back to the heads of the queues."""
    host = host_at(sim, number)
    host.stalls += 1
    if host.stalls > 1:
        return
    if host.ps:
        advance_clock(sim, number)
        host.cores = 0
        set_alarm(sim, number)
        return
    thread = last_running(sim, number)
    while thread >= 0:
        leave_core(sim, thread)
        lane = lane_at(sim, thread_at(sim, thread).lane)
        if lane.head < 0:
            append_lane(sim, thread)
        else:
            thread_at(sim, thread).next = lane.head
            lane.head = thread
        thread = last_running(sim, number)
    host.idle = 0


@plain
def go_on(sim: Sim, number: int) -> None:
    """Takes one stall of a host back; with the last one its cores go on."""
    host = host_at(sim, number)
    host.stalls -= 1
    if host.stalls > 0:
        return
    if host.ps:
        advance_clock(sim, number)
        host.cores = host.all_cores
        set_alarm(sim, number)
    else:
        for _ in range(host.all_cores):
            start_next(sim, number)


@plain
def last_running(sim: Sim, host: int) -> int:
    """Returns the thread on a host that got its core last, or -1."""
    last = -1
    for thread in range(sim.thread_count):
        row = thread_at(sim, thread)
        if row.host == host and row.running and (last < 0 or row.start_number > thread_at(sim, last).start_number):
            last = thread
    return last


@plain
def throttle(sim: Sim, number: int, alarm: int) -> None:
    """Stops a cgroup that has used its quota up, unless threads came or went since the alarm was set."""
    cgroup = cgroup_at(sim, number)
    if alarm != cgroup.alarm:
        return
    count_use(sim, cgroup)
    hold(sim, number)
    push(sim, max(0.0, cgroup.end - sim.now), REFILL, number, NONE)


@plain
def refill(sim: Sim, number: int) -> None:
    """Begins the next period of a throttled cgroup."""
    cgroup = cgroup_at(sim, number)
    count_use(sim, cgroup)
    if cgroup.used > 0.0:  # the period's end, but for rounding
        cgroup.used = 0.0
        cgroup.end += cgroup.period
    release(sim, number)

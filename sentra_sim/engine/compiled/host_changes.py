"""What changes of processes and hosts do in the compiled engine."""

from __future__ import annotations

from typing import Any

import numba

from sentra_sim.engine.compiled.freezer import hold, release, signal, start_anew
from sentra_sim.engine.compiled.heaps import heap_remove_first
from sentra_sim.engine.compiled.memory import Sim, cgroup_at, entry_at, host_at, lane_at, plain, thread_at
from sentra_sim.engine.compiled.sharing import (
    advance_clock,
    charge_share,
    enter_lane,
    set_alarm,
)
from sentra_sim.engine.compiled.slicing import leave_core, next_running, start_slice

OPERATIONS = ("pause", "resume", "restart", "host-down", "host-up", "speed", "neighbour", "slow", "lossy")
PAUSE, RESUME, RESTART, DOWN, UP, SPEED, NEIGHBOUR, SLOW, LOSSY = range(len(OPERATIONS))


@numba.njit(cache=True, error_model="numpy")
def change_host(tables: Any, operation: int, number: int, value: float) -> None:
    """Makes the change with the number of an operation to a cgroup or a host."""
    sim = tables[0]
    if operation in (PAUSE, RESUME):
        signal(sim, number, operation == PAUSE)
    elif operation == NEIGHBOUR:
        signal(sim, number, value == 0.0)
    elif operation == RESTART:
        start_anew(sim, number)
    elif operation in (DOWN, UP):
        switch(sim, number, operation == DOWN)
    elif operation == SLOW:
        host_at(sim, number).network = value
    elif operation == LOSSY:
        host_at(sim, number).loss = value
    elif operation == SPEED:
        set_speed(sim, number, value)


@plain
def switch(sim: Sim, host: int, down: bool) -> None:
    """Takes a host down or up; what its processes had under way begins anew, as its callers send it again."""
    if (host_at(sim, host).down > 0) == down:
        return
    host_at(sim, host).down = int(down)
    for number in range(sim.cgroup_count):
        if cgroup_at(sim, number).host != host:
            continue
        if down:
            hold(sim, number)
        else:
            start_anew(sim, number)
            release(sim, number)


@plain
def set_speed(sim: Sim, host: int, factor: float) -> None:
    """Gives a host's cores another speed; what is left of every job changes with it."""
    row = host_at(sim, host)
    speed = row.first_speed * factor
    ratio = row.speed / speed
    row.speed = speed
    if row.ps:
        first = take_shares(sim, host)
        scale(sim, host, ratio)
        give_shares(sim, host, first)
    else:
        first = take_slices(sim, host)
        scale(sim, host, ratio)
        while first >= 0:
            after = thread_at(sim, first).next
            start_slice(sim, first)
            first = after


@plain
def scale(sim: Sim, host: int, ratio: float) -> None:
    """Changes what is left of the jobs on a host."""
    for thread in range(sim.thread_count):
        row = thread_at(sim, thread)
        if row.host == host:
            row.remaining *= ratio
            row.asked *= ratio


@plain
def take_slices(sim: Sim, host: int) -> int:
    """Takes all threads off a host's cores. Returns the first of the list of them, in the order in which they got theirs."""
    head, tail = -1, -1
    while True:
        first = -1
        for cgroup in range(sim.cgroup_count):
            if cgroup_at(sim, cgroup).host != host:
                continue
            thread = next_running(sim, cgroup, 0)
            if thread >= 0 and (first < 0 or thread_at(sim, thread).start_number < thread_at(sim, first).start_number):
                first = thread
        if first < 0:
            return head
        leave_core(sim, first)
        head, tail = linked(sim, head, tail, first)


@plain
def take_shares(sim: Sim, host: int) -> int:
    """Takes all jobs off a sharing host. Returns the first of the list of their threads: normal ones by end, then low ones."""
    head, tail = -1, -1
    advance_clock(sim, host)
    for number in range(2 * host, 2 * host + 2):
        lane = lane_at(sim, number)
        while lane.active > 0:
            end, thread = entry_at(lane.jobs, 0).time, entry_at(lane.jobs, 0).detail
            lane.active -= 1
            heap_remove_first(lane.jobs, lane.active)
            thread_at(sim, thread).remaining = max(0.0, end - lane.virtual)
            charge_share(sim, thread, lane.virtual)
            head, tail = linked(sim, head, tail, thread)
    return head


@plain
def give_shares(sim: Sim, host: int, thread: int) -> None:
    """Lets the jobs of a list of threads share the cores again."""
    if thread < 0:
        return
    while thread >= 0:
        after = thread_at(sim, thread).next
        enter_lane(sim, thread)
        thread = after
    set_alarm(sim, host)


@plain
def linked(sim: Sim, head: int, tail: int, thread: int) -> tuple[int, int]:
    """Appends a thread to a list. Returns the list's ends."""
    thread_at(sim, thread).next = -1
    if head < 0:
        return thread, thread
    thread_at(sim, tail).next = thread
    return head, thread

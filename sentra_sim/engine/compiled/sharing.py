"""Hosts whose jobs share the cores: a virtual clock for each lane. `reference/sharing.py` is the model."""

from __future__ import annotations

from sentra_sim.engine.compiled.calendar import (
    ALARM,
    push,
)
from sentra_sim.engine.compiled.heaps import heap_insert, heap_remove_first
from sentra_sim.engine.compiled.memory import (
    Sim,
    cpu_at,
    entry_at,
    host_at,
    inline,
    lane_at,
    plain,
    thread_at,
    virtual_at,
)
from sentra_sim.engine.compiled.slicing import finish


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

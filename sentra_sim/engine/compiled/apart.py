"""Stations that are played apart: not event by event with all others, but each by itself up to now, whenever somebody is to look.

Nobody waits for them, and nothing else is on their hosts, so each is a G/G/c queue by itself (Kiefer & Wolfowitz 1955). Its jobs get the
times, the draws and the places in the CPU accounts that the calendar would give them, in the same order.
"""

from __future__ import annotations

from typing import Any

import numba

from sentra_sim.engine.compiled.calendar import NONE, charge
from sentra_sim.engine.compiled.hosts import amount
from sentra_sim.engine.compiled.memory import (
    Row,
    Sim,
    apart_at,
    core_at,
    hop_at,
    host_at,
    inline,
    link_at,
    node_at,
    plain,
    poll_at,
    poll_frame_at,
    server_at,
    station_at,
)
from sentra_sim.engine.compiled.queues import free, link, new_node


@numba.njit(cache=True, error_model="numpy")
def play_apart(tables: Any) -> None:
    """Plays all of them up to now; what leads to one comes before it."""
    sim = tables[0]
    for number in range(sim.apart_count):
        _play(sim, apart_at(sim, number))


@plain
def _play(sim: Sim, row: Row) -> None:
    queue = server_at(sim, station_at(sim, row.station).server)
    while True:
        first = next_core(sim, row)
        if queue.head >= 0 and row.busy < row.threads:
            poll = node_at(sim, queue.head).ref
            came = hop_at(sim, poll_frame_at(sim, poll_at(sim, poll).first).value, row.before).value
            if first < 0 or core_at(sim, first).end > came:
                _begin(sim, row, queue, poll, max(came, row.clock))
                continue
        if first < 0 or core_at(sim, first).end >= sim.now:
            return
        _end(sim, row, first)


@inline
def next_core(sim: Sim, row: Row) -> int:
    """Returns the core whose slice ends first, the one that began first of several; -1 if all are free."""
    first = -1
    for number in range(row.first, row.first + row.threads):
        if core_at(sim, number).poll >= 0 and (first < 0 or _ends_before(core_at(sim, number), core_at(sim, first))):
            first = number
    return first


@inline
def _ends_before(one: Row, other: Row) -> bool:
    return one.end < other.end or (one.end == other.end and one.start_number < other.start_number)  # type: ignore[no-any-return]


@plain
def _begin(sim: Sim, row: Row, queue: Row, poll: int, now: float) -> None:
    """A free core takes the first poll of the queue."""
    node = queue.head
    queue.head = node_at(sim, node).next
    free(sim, node)
    number = row.first
    while core_at(sim, number).poll >= 0:
        number += 1
    core = core_at(sim, number)
    core.poll = poll
    core.left = amount(sim, station_at(sim, row.station).work, poll_at(sim, poll).frames, poll_at(sim, poll).events)
    core.left /= host_at(sim, row.host).speed
    row.busy += 1
    _start_slice(sim, row, core, now)


@inline
def _start_slice(sim: Sim, row: Row, core: Row, now: float) -> None:
    core.ran = min(core.left, host_at(sim, row.host).slice)
    core.start, core.end = now, now + core.ran
    row.starts += 1
    core.start_number = row.starts


@plain
def _end(sim: Sim, row: Row, number: int) -> None:
    """Ends a slice, and with the last one its job: the poll goes on."""
    core = core_at(sim, number)
    row.clock = core.end
    charge(sim, row.process, core.start, core.end)
    core.left -= core.ran
    if core.left > 0.0:
        _start_slice(sim, row, core, core.end)
        return
    station, poll = station_at(sim, row.station), poll_at(sim, core.poll)
    for at in range(poll.first, poll.first + poll.frames):
        hop_at(sim, poll_frame_at(sim, at).value, station.hop).value = core.end
    for at in range(station.link_first, station.link_first + station.links):
        after = station_at(sim, link_at(sim, at).value)
        link(sim, server_at(sim, after.server), new_node(sim, NONE, core.poll))
    core.poll = -1
    row.busy -= 1


@plain
def charge_cut_off(sim: Sim) -> None:
    """Books what the jobs that the end of the run cuts off have used."""
    for number in range(sim.apart_count):
        row = apart_at(sim, number)
        first = next_begun(sim, row)
        while first >= 0:
            charge(sim, row.process, core_at(sim, first).start, sim.now)
            core_at(sim, first).poll = -1
            first = next_begun(sim, row)


@plain
def next_begun(sim: Sim, row: Row) -> int:
    """Returns the core whose slice began first, -1 if all are free."""
    first = -1
    for number in range(row.first, row.first + row.threads):
        core = core_at(sim, number)
        if core.poll >= 0 and (first < 0 or core.start_number < core_at(sim, first).start_number):
            first = number
    return first

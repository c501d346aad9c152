"""Pools and stores that serve a queue: what a poll is handed to."""

from __future__ import annotations

from sentra_sim.engine.compiled.calendar import NONE, REPLY, VISIBLE, delay_of, push, quiet
from sentra_sim.engine.compiled.consumers import replied
from sentra_sim.engine.compiled.jobs import got, next_job
from sentra_sim.engine.compiled.memory import Sim, inline, link_at, plain, station_at, thread_at
from sentra_sim.engine.compiled.polls import fails, offer, offer_last, stamp
from sentra_sim.engine.compiled.queues import get_job


@plain
def visible(sim: Sim, number: int, poll: int) -> None:
    """Stamps a poll and hands it on, unless the call has failed."""
    station = station_at(sim, number)
    if fails(sim, number, poll):
        return
    stamp(sim, poll, station.hop)
    for at in range(station.link_first, station.link_first + station.links):
        offer(sim, link_at(sim, at).value, poll)


@plain
def reply_last(sim: Sim, number: int, poll: int) -> None:
    """Tells the consumer if it waits for a station, as the last act of whatever calls it."""
    if not station_at(sim, number).called:
        return
    if quiet(sim):
        replied(sim, poll)
    else:
        push(sim, 0.0, REPLY, poll, NONE)


@inline
def served(sim: Sim, thread: int) -> None:
    """Goes on with a poll that a thread of a pool or a store is done with."""
    row = thread_at(sim, thread)
    number, poll = row.unit, row.ref
    delay = delay_of(sim, station_at(sim, number).delay)
    if sim.now + delay == sim.now and quiet(sim):
        visible_at_once(sim, thread, number, poll)
    else:
        push(sim, delay, VISIBLE, number, poll)
        next_job(sim, thread)


@plain
def visible_at_once(sim: Sim, thread: int, number: int, poll: int) -> None:
    """Does at once what the calendar would do next: the thread takes its next job, the poll goes on, then the job begins."""
    station = station_at(sim, number)
    first = get_job(sim, thread)
    if first >= 0:
        visible(sim, number, poll)
        if station.called:
            push(sim, 0.0, REPLY, poll, NONE)
        got(sim, first)
    elif station.called or station.links != 1:
        visible(sim, number, poll)
        reply_last(sim, number, poll)
    else:
        stamp(sim, poll, station.hop)
        offer_last(sim, link_at(sim, station.link_first).value, poll)

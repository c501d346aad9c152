"""The edge: a poll goes out to its subscribers."""

from __future__ import annotations

from sentra_sim.engine.compiled.calendar import HEARD, NONE, delay_of, push
from sentra_sim.engine.compiled.hosts import run_job
from sentra_sim.engine.compiled.jobs import next_job
from sentra_sim.engine.compiled.memory import Sim, edge_at, inline, plain, poll_at, slow_at, station_at, thread_at
from sentra_sim.engine.compiled.polls import stamp
from sentra_sim.engine.compiled.queues import put
from sentra_sim.engine.compiled.subscribers import count_writes, resume_slow, write_all
from sentra_sim.engine.compiled.tables import SEND


@inline
def edge_done(sim: Sim, thread: int) -> None:
    """Goes on with a poll that the edge has sent or a subscriber has received."""
    row = thread_at(sim, thread)
    station = station_at(sim, row.unit)
    if row.role == SEND:
        stamp(sim, row.ref, station.hop)
        push(sim, delay_of(sim, station.delay), HEARD, row.unit, row.ref)
    else:
        stamp(sim, row.ref, station.second_hop)
    next_job(sim, thread)


@plain
def fan_done(sim: Sim, thread: int) -> None:
    """Goes on with what the thread of an edge with subscribers is done with: encoding, writing, or letting clients in."""
    row = thread_at(sim, thread)
    station = station_at(sim, row.unit)
    edge = edge_at(sim, station.store)
    if row.work == station.work:
        row.work = edge.deliver_work
        run_job(sim, thread, row.work, count_writes(sim, station.store, poll_at(sim, row.ref).events), NONE)
        return
    if row.work == edge.deliver_work:
        stamp(sim, row.ref, station.hop)
        write_all(sim, station.store, poll_at(sim, row.ref).events)
        push(sim, delay_of(sim, station.delay), HEARD, row.unit, row.ref)
    else:
        resume_slow(sim, row.ref)
    next_job(sim, thread)


@plain
def reconnect(sim: Sim, at: int) -> None:
    """A class of slow subscribers asks to be let in again."""
    edge = edge_at(sim, slow_at(sim, at).edge)
    put(sim, station_at(sim, edge.station).server, edge.connect_work, at)

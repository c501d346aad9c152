"""The edge: a poll goes out to its subscribers."""

from __future__ import annotations

from sentra_sim.engine.compiled.calendar import EDGE_RECOVERED, GOT, HEARD, NONE, delay_of, push
from sentra_sim.engine.compiled.hosts import run_job
from sentra_sim.engine.compiled.jobs import begin_fan, next_job, start_fan
from sentra_sim.engine.compiled.layout import ENCODED, SEND, WRITTEN
from sentra_sim.engine.compiled.memory import Sim, cold, edge_at, inline, plain, poll_at, slow_at, station_at, thread_at
from sentra_sim.engine.compiled.polls import stamp
from sentra_sim.engine.compiled.queues import put
from sentra_sim.engine.compiled.subscribers import (
    back_off,
    count_sse_writes,
    count_writes,
    cut_off,
    drain_slow,
    resume_slow,
    sse_events,
    write_all,
)


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


@cold
def fan_done(sim: Sim, thread: int) -> None:
    """Goes on with what the thread of an edge with subscribers is done with: letting clients in, encoding, or writing."""
    row = thread_at(sim, thread)
    station = station_at(sim, row.unit)
    edge = edge_at(sim, station.store)
    done = edge.encoding
    edge.encoding = 0
    if edge.job_life != edge.life:  # what a kill finds under way is done again
        edge.redone += 1.0
        begin_fan(sim, thread)
        return
    if edge.welcoming:
        edge.welcoming = 0
        start_fan(sim, thread)
        return
    if done == ENCODED:
        edge.encoding = WRITTEN if edge.sse else 0
        run_job(sim, thread, edge.deliver_work, count_writes(sim, station.store, poll_at(sim, row.ref).events), NONE)
        return
    if done == WRITTEN:
        events = poll_at(sim, row.ref).events
        writes = count_sse_writes(sim, station.store, events)
        run_job(sim, thread, edge.sse_deliver_work, writes, sse_events(sim, station.store, events))
        return
    if row.work == station.work:
        stamp(sim, row.ref, station.hop)
        write_all(sim, station.store, poll_at(sim, row.ref).events)
        push(sim, delay_of(sim, station.delay), HEARD, row.unit, row.ref)
    else:
        resume_slow(sim, row.ref)
    next_job(sim, thread)


@plain
def reconnect(sim: Sim, at: int) -> None:
    """A class of subscribers asks to be let in again; an edge that is down refuses it."""
    slow = slow_at(sim, at)
    edge = edge_at(sim, slow.edge)
    if edge.sse and not edge.up:
        back_off(sim, edge, at)
    else:
        put(sim, station_at(sim, edge.station).server, edge.sse_connect_work if slow.sse else edge.connect_work, at)


@plain
def kill_edge(sim: Sim, number: int) -> None:
    """Ends an edge's process: all connections break."""
    edge = edge_at(sim, number)
    if not edge.up and not edge.starting:
        return
    edge.life += 1
    edge.up = edge.starting = 0
    for at in range(edge.first, edge.first + edge.classes):
        if slow_at(sim, at).connected:
            drain_slow(sim, edge, slow_at(sim, at))
            cut_off(sim, edge, at)


@plain
def start_edge(sim: Sim, number: int) -> None:
    """Starts a killed edge."""
    edge = edge_at(sim, number)
    if edge.up or edge.starting:
        return
    edge.starting = 1
    push(sim, edge.restart, EDGE_RECOVERED, number, edge.life)


@plain
def edge_recovered(sim: Sim, number: int, life: int) -> None:
    """Lets an edge serve again; a job that it was down for goes on."""
    edge = edge_at(sim, number)
    if life != edge.life:
        return
    edge.up, edge.starting, edge.welcome = 1, 0, 1 - edge.sse
    edge.recoveries += 1.0
    if edge.parked >= 0:
        push(sim, 0.0, GOT, edge.parked, NONE)
        edge.parked = -1

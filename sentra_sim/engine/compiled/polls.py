"""Polls on their way from station to station."""

from __future__ import annotations

import numpy as np

from sentra_sim.engine.compiled.calendar import HANDED, NONE, WAKE, WRITER_WOKEN, delay_of, push
from sentra_sim.engine.compiled.jobs import put_last
from sentra_sim.engine.compiled.layout import COLUMNAR_STORE, HANDED_OVER, QUEUED, SET_APART, TRANSACTIONAL
from sentra_sim.engine.compiled.memory import (
    Sim,
    cold,
    frame_at,
    hop_at,
    inline,
    owner_at,
    plain,
    poll_at,
    poll_frame_at,
    replica_at,
    server_at,
    station_at,
)
from sentra_sim.engine.compiled.parts import gather
from sentra_sim.engine.compiled.queues import link, new_node, put
from sentra_sim.engine.compiled.sessions import accept
from sentra_sim.engine.trace import DUPLICATE, OPEN


@plain
def offer_frame(sim: Sim, frame: int) -> None:
    """Offers a frame to the consumer that owns its partition, or keeps it for who will."""
    owner = owner_at(sim, frame_at(sim, frame).partition).owner
    frame_at(sim, frame).next = -1
    if owner < 0:
        add_orphan(sim, frame)
        return
    replica = replica_at(sim, owner)
    if replica.head < 0:
        replica.head = frame
    else:
        frame_at(sim, replica.tail).next = frame
    replica.tail = frame
    if replica.waiting:
        replica.waiting = 0
        push(sim, replica.gather, WAKE, owner, replica.life)


@cold
def add_orphan(sim: Sim, frame: int) -> None:
    """Keeps a frame, the last of a list, whose partition nobody owns."""
    if sim.orphan_head < 0:
        sim.orphan_head = frame
    else:
        frame_at(sim, sim.orphan_tail).next = frame
    sim.orphan_tail = frame


@plain
def stamp(sim: Sim, number: int, hop: int) -> None:
    """Notes that a poll's frames have reached a hop now."""
    poll = poll_at(sim, number)
    if sim.keeps_first:
        for at in range(poll.first, poll.first + poll.frames):
            stamp_first(sim, poll_frame_at(sim, at).value, hop)
        return
    for at in range(poll.first, poll.first + poll.frames):
        hop_at(sim, poll_frame_at(sim, at).value, hop).value = sim.now


@cold
def stamp_first(sim: Sim, frame: int, hop: int) -> None:
    """Notes that a frame has reached a hop now, unless it did before: then it may have taken effect again."""
    if np.isnan(hop_at(sim, frame, hop).value):
        hop_at(sim, frame, hop).value = sim.now
    elif hop == sim.effect and not sim.idempotent and frame_at(sim, frame).outcome == OPEN:
        frame_at(sim, frame).outcome = DUPLICATE


@inline
def fails(sim: Sim, number: int, poll: int) -> bool:
    """Tells whether a consumer's call of a station fails, and notes it for the consumer."""
    station = station_at(sim, number)
    if station.failure > 0.0 and delay_of(sim, station.failure_draw) < station.failure:
        poll_at(sim, poll).failed = 1
        return True
    return False


@plain
def offer(sim: Sim, number: int, poll: int) -> None:
    """Hands a poll to a station."""
    station = station_at(sim, number)
    if station.intake == QUEUED:
        put(sim, station.server, station.work, poll)
        return
    if station.intake == HANDED_OVER:
        push(sim, delay_of(sim, station.handover), HANDED, number, poll)
        return
    if station.intake == TRANSACTIONAL:
        accept(sim, station.store, poll)
        return
    if station.intake == COLUMNAR_STORE:
        gather(sim, station.store, poll)
        return
    if station.intake == SET_APART:
        link(sim, server_at(sim, station.server), new_node(sim, NONE, poll))
        return
    link(sim, station, new_node(sim, NONE, poll))
    if station.writer_waiting:
        station.writer_waiting = 0
        push(sim, 0.0, WRITER_WOKEN, number, NONE)


@plain
def offer_last(sim: Sim, number: int, poll: int) -> None:
    """Hands a poll to a station, as the last act of whatever calls it."""
    station = station_at(sim, number)
    if station.intake == QUEUED:
        put_last(sim, station.server, station.work, poll)
    else:
        offer(sim, number, poll)

"""Polls on their way from station to station."""

from __future__ import annotations

from sentra_sim.engine.compiled.calendar import HANDED, NONE, WRITER_WOKEN, delay_of, push
from sentra_sim.engine.compiled.jobs import put_last
from sentra_sim.engine.compiled.memory import Sim, hop_at, plain, poll_at, poll_frame_at, station_at
from sentra_sim.engine.compiled.queues import link, new_node, put


@plain
def stamp(sim: Sim, number: int, hop: int) -> None:
    """Notes that a poll's frames have reached a hop now."""
    poll = poll_at(sim, number)
    for at in range(poll.first, poll.first + poll.frames):
        hop_at(sim, poll_frame_at(sim, at).value, hop).value = sim.now


@plain
def offer(sim: Sim, number: int, poll: int) -> None:
    """Hands a poll to a station."""
    station = station_at(sim, number)
    if station.handover >= 0:
        push(sim, delay_of(sim, station.handover), HANDED, number, poll)
        return
    if station.flush == 0.0:
        put(sim, station.server, station.work, poll)
        return
    link(sim, station, new_node(sim, NONE, poll))
    if station.writer_waiting:
        station.writer_waiting = 0
        push(sim, 0.0, WRITER_WOKEN, number, NONE)


@plain
def offer_last(sim: Sim, number: int, poll: int) -> None:
    """Hands a poll to a station, as the last act of whatever calls it."""
    station = station_at(sim, number)
    if station.flush == 0.0:
        put_last(sim, station.server, station.work, poll)
    else:
        offer(sim, number, poll)

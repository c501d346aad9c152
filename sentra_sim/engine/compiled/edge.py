"""The edge: a poll goes out to its subscribers."""

from __future__ import annotations

from sentra_sim.engine.compiled.calendar import HEARD, delay_of, push
from sentra_sim.engine.compiled.jobs import next_job
from sentra_sim.engine.compiled.memory import Sim, inline, station_at, thread_at
from sentra_sim.engine.compiled.polls import stamp
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

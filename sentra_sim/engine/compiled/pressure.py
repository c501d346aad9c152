"""Backpressure in the compiled engine. `reference/pressure.py` is the model."""

from __future__ import annotations

from sentra_sim.engine.compiled.admission import tell_clients
from sentra_sim.engine.compiled.calendar import NONE, PRESSURE_LOOK, push
from sentra_sim.engine.compiled.memory import Sim, acked_frame_at, cold, pressure_of


@cold
def look_at_lag(sim: Sim) -> None:
    """Begins what the batcher does against a lag above the high mark, or ends it at the low mark, and looks again later."""
    pressure = pressure_of(sim)
    if sim.mortal and not sim.gateway_up:
        push(sim, pressure.poll, PRESSURE_LOOK, NONE, NONE)
        return
    if not sim.pressed and sim.lag_events > pressure.high:
        sim.pressed = 1
        pressure.since = sim.now
        pressure.backpressure_periods += 1
    elif sim.pressed and sim.lag_events <= pressure.low:
        sim.pressed = 0
        pressure.backpressure_s += sim.now - pressure.since
        for place in range(pressure.acked):
            tell_clients(sim, acked_frame_at(sim, place).value)
        pressure.acked = 0
    push(sim, pressure.poll, PRESSURE_LOOK, NONE, NONE)


@cold
def begin_pressure(sim: Sim) -> None:
    """Sets the timer of the first look."""
    if sim.gated and pressure_of(sim).poll > 0.0:
        push(sim, pressure_of(sim).poll, PRESSURE_LOOK, NONE, NONE)


@cold
def end_pressure(sim: Sim) -> None:
    """Counts the time of what the end of the run finds under way."""
    if sim.pressed:
        pressure_of(sim).backpressure_s += sim.now - pressure_of(sim).since

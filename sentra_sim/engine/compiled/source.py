"""The load generator."""

from __future__ import annotations

from sentra_sim.engine.compiled.calendar import NONE, ONE, SOURCE_DUE, push
from sentra_sim.engine.compiled.hosts import run_job
from sentra_sim.engine.compiled.layout import LOAD
from sentra_sim.engine.compiled.memory import Sim, due_at, first_event_at, more, plain


@plain
def source_next(sim: Sim) -> None:
    """Waits until the next message is due, unless it is."""
    if sim.message == sim.message_count:
        more(sim, LOAD)
        if sim.message == sim.message_count:
            return
    wait = due_at(sim, sim.message).value - sim.now
    if wait > 0.0:
        push(sim, wait, SOURCE_DUE, NONE, NONE)
    else:
        source_send(sim)


@plain
def source_send(sim: Sim) -> None:
    """Sends the next message."""
    events = first_event_at(sim, sim.message + 1).value - first_event_at(sim, sim.message).value
    run_job(sim, sim.source_thread, sim.source_work, ONE, events)

"""Jobs that stations run by themselves."""

from __future__ import annotations

from sentra_sim.engine.compiled.calendar import NONE, TICK_DUE, push
from sentra_sim.engine.compiled.hosts import run_job
from sentra_sim.engine.compiled.memory import Sim, background_at, plain


@plain
def tick_wait(sim: Sim, number: int) -> None:
    """Waits until a background job is due, unless it is."""
    wait = background_at(sim, number).due - sim.now
    if wait > 0.0:
        push(sim, wait, TICK_DUE, number, NONE)
    else:
        tick(sim, number)


@plain
def tick(sim: Sim, number: int) -> None:
    """Runs a background job while the load lasts."""
    job = background_at(sim, number)
    if sim.now < sim.seconds:
        run_job(sim, job.thread, job.work, NONE, NONE)

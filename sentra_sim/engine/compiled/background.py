"""Jobs that stations run by themselves."""

from __future__ import annotations

from sentra_sim.engine.compiled.calendar import NONE, TICK_DUE, push
from sentra_sim.engine.compiled.hosts import run_job
from sentra_sim.engine.compiled.layout import OF_GATEWAY
from sentra_sim.engine.compiled.memory import Sim, background_at, broker_at, plain


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
    """Runs a background job while the load lasts, but not of a broker or a gateway that is down."""
    job = background_at(sim, number)
    if sim.now >= sim.seconds:
        return
    down = not broker_at(sim, job.broker).up if job.broker >= 0 else job.broker == OF_GATEWAY and not sim.gateway_up
    if down:
        while job.due <= sim.now:
            job.due += job.every
        push(sim, job.due - sim.now, TICK_DUE, number, NONE)
    else:
        run_job(sim, job.thread, job.work, NONE, NONE)

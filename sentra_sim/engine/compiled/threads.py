"""What goes on when a thread's job is done."""

from __future__ import annotations

from sentra_sim.engine.compiled.background import tick_wait
from sentra_sim.engine.compiled.batcher import buffer
from sentra_sim.engine.compiled.calendar import ARRIVE, NONE, delay_of, push
from sentra_sim.engine.compiled.consumers import consumer_done
from sentra_sim.engine.compiled.jobs import next_job
from sentra_sim.engine.compiled.log import appended, produce, replicated
from sentra_sim.engine.compiled.memory import Sim, background_at, broker_at, inline, thread_at
from sentra_sim.engine.compiled.served import station_done
from sentra_sim.engine.compiled.source import source_next
from sentra_sim.engine.compiled.tables import BATCHER, CONSUMER, LOG, SOURCE, TICK


@inline
def done(sim: Sim, thread: int) -> None:
    """A thread's job is done: its station goes on, then the thread looks for its next job."""
    row = thread_at(sim, thread)
    role, ref = row.role, row.ref
    if role == SOURCE:
        push(sim, delay_of(sim, sim.network_delay), ARRIVE, sim.message, NONE)
        sim.message += 1
        source_next(sim)
    elif role == CONSUMER:
        consumer_done(sim, row.unit)
    elif role == TICK:
        background_at(sim, row.unit).due += background_at(sim, row.unit).every
        tick_wait(sim, row.unit)
    elif role == BATCHER:
        if row.work == sim.close_work:
            produce(sim, ref)
        else:
            buffer(sim, ref)
        next_job(sim, thread)
    elif role == LOG:
        if row.work == broker_at(sim, row.unit).append_work:
            appended(sim, ref)
        else:
            replicated(sim, ref)
        next_job(sim, thread)
    else:
        station_done(sim, thread)

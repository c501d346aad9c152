"""What goes on when a thread's job is done."""

from __future__ import annotations

from sentra_sim.engine.compiled.background import tick_wait
from sentra_sim.engine.compiled.batcher import buffer, buffer_tracked, buffer_weighed
from sentra_sim.engine.compiled.calendar import ARRIVE, COPIED, NONE, WRITTEN, delay_of, push
from sentra_sim.engine.compiled.clients import resent, sent
from sentra_sim.engine.compiled.consumers import consumer_done
from sentra_sim.engine.compiled.edge import edge_done, fan_done
from sentra_sim.engine.compiled.jobs import next_job
from sentra_sim.engine.compiled.layout import (
    BATCHER,
    CHILD,
    CONSUMER,
    FAN,
    INSERT,
    LOG,
    MERGE,
    RELAY,
    SEND,
    SERVE,
    SESSION,
    SOURCE,
    SPLITS,
    SUBSCRIBE,
    TICK,
    WRITE,
)
from sentra_sim.engine.compiled.log import appended, copied, produce, write
from sentra_sim.engine.compiled.memory import Sim, background_at, broker_at, cold, command_at, inline, thread_at
from sentra_sim.engine.compiled.parts import inserted, merged
from sentra_sim.engine.compiled.relay import relay_done
from sentra_sim.engine.compiled.releases import note_events, split_done
from sentra_sim.engine.compiled.served import served
from sentra_sim.engine.compiled.source import source_next
from sentra_sim.engine.compiled.stores import written
from sentra_sim.engine.compiled.transactions import store_worked


@inline
def done(sim: Sim, thread: int) -> None:  # noqa: PLR0912 - one branch a role
    """A thread's job is done: its station goes on, then the thread looks for its next job."""
    row = thread_at(sim, thread)
    role, ref = row.role, row.ref
    if role == SOURCE:
        push(sim, delay_of(sim, sim.network_delay), ARRIVE, sim.message, NONE)
        if sim.retrying:
            sent(sim, sim.message)
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
        elif sim.tracked:
            buffer_tracked(sim, ref)
        else:
            if sim.weighs:
                buffer_weighed(sim, ref)
            else:
                buffer(sim, ref)
            if sim.noted:
                note_events(sim, ref)
        next_job(sim, thread)
    elif role == LOG:
        if ref < 0:  # its broker has stopped meanwhile
            pass
        elif sim.disk > 0.0:
            write(sim, ref, row.unit, WRITTEN if row.work == broker_at(sim, row.unit).append_work else COPIED)
        elif row.work == broker_at(sim, row.unit).append_work:
            appended(sim, ref)
        else:
            copied(sim, ref, row.unit)
        next_job(sim, thread)
    elif role == SERVE:
        served(sim, thread)
    elif role == WRITE:
        written(sim, thread)
    elif role in (SEND, SUBSCRIBE):
        edge_done(sim, thread)
    else:
        special_done(sim, thread)


@cold
def special_done(sim: Sim, thread: int) -> None:
    """Does the same for threads that few pipelines have."""
    row = thread_at(sim, thread)
    role, ref = row.role, row.ref
    if role == SPLITS:
        split_done(sim, thread)
        next_job(sim, thread)
    elif role == SESSION:
        store_worked(sim, thread)
    elif role == CHILD:
        command_at(sim, row.unit).running = 0
    elif role == RELAY:
        relay_done(sim, row.unit)
    elif role == FAN:
        fan_done(sim, thread)
    elif role == INSERT:
        inserted(sim, row.unit)
    elif role == MERGE:
        merged(sim, thread)
    else:
        resent(sim, ref)
        next_job(sim, thread)

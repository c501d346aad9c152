"""Calendar entries that are rare, each given to the area that it is of."""

from __future__ import annotations

from sentra_sim.engine.compiled.calendar import (
    EXPIRED,
    FETCH_COMES,
    GATEWAY_READY,
    HEAR,
    IMPATIENT,
    POLL_WATCH,
    PRESSURE_LOOK,
    READY,
    REPLICA_COMES,
    RESEND,
    RESUMED,
    RETAIN,
    STORE_COMMITTED,
    TAKEN_OVER,
    THROTTLE,
    TURN,
)
from sentra_sim.engine.compiled.calls import call
from sentra_sim.engine.compiled.clients import impatient, resend
from sentra_sim.engine.compiled.cluster import broker_event
from sentra_sim.engine.compiled.consumers import resume
from sentra_sim.engine.compiled.fetches import answer, fetched_by_consumer
from sentra_sim.engine.compiled.gateway import gateway_ready
from sentra_sim.engine.compiled.log import replica_comes
from sentra_sim.engine.compiled.membership import expire, member_ready, watch_poll
from sentra_sim.engine.compiled.memory import Sim, cold, fetch_at
from sentra_sim.engine.compiled.pressure import look_at_lag
from sentra_sim.engine.compiled.pulls import answer_pull
from sentra_sim.engine.compiled.rebalances import hear, take_over
from sentra_sim.engine.compiled.retention import clean_log
from sentra_sim.engine.compiled.transactions import store_event
from sentra_sim.engine.compiled.vacations import refill, throttle, turn


@cold
def rare_event(sim: Sim, kind: int, subject: int, detail: int) -> None:
    """Does what a rare entry says."""
    if kind < HEAR:
        broker_event(sim, kind, subject, detail)
    elif kind < TURN:
        group_event(sim, kind, subject, detail)
    elif kind < STORE_COMMITTED:
        host_event(sim, kind, subject, detail)
    elif kind < IMPATIENT:
        store_event(sim, kind, subject, detail)
    elif kind == IMPATIENT:
        impatient(sim, subject, detail)
    elif kind == RESEND:
        resend(sim, subject)
    elif kind == PRESSURE_LOOK:
        look_at_lag(sim)
    elif kind == GATEWAY_READY:
        gateway_ready(sim, detail)
    elif kind == POLL_WATCH:
        watch_poll(sim, subject, detail)
    else:
        fetch_event(sim, kind, subject, detail)


@cold
def fetch_event(sim: Sim, kind: int, subject: int, detail: int) -> None:
    """Does what an entry about fetches that wait at brokers, or about old segments, says."""
    if kind == FETCH_COMES:
        fetched_by_consumer(sim, subject)
    elif kind == REPLICA_COMES:
        replica_comes(sim, subject, detail)
    elif kind == RETAIN:
        clean_log(sim)
    elif detail != fetch_at(sim, subject).answers:
        pass  # answered before its wait was over
    elif sim.pulling and subject >= sim.pull_first:
        answer_pull(sim, subject)
    else:
        answer(sim, subject)


@cold
def group_event(sim: Sim, kind: int, subject: int, detail: int) -> None:
    """Does what an entry about consumers that come and go, or call again, says."""
    if kind == HEAR:
        hear(sim, subject, detail)
    elif kind == TAKEN_OVER:
        take_over(sim, subject, detail)
    elif kind == EXPIRED:
        expire(sim, subject, detail)
    elif kind == READY:
        member_ready(sim, subject, detail)
    elif kind == RESUMED:
        resume(sim, subject, detail)
    else:
        call(sim, subject, detail)


@cold
def host_event(sim: Sim, kind: int, subject: int, detail: int) -> None:
    """Does what an entry about pauses and limits of processes and hosts says."""
    if kind == TURN:
        turn(sim, subject)
    elif kind == THROTTLE:
        throttle(sim, subject, detail)
    else:
        refill(sim, subject)

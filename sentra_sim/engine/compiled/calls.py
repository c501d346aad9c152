"""How a consumer calls a station that may fail, in the compiled engine. `reference/calls.py` and `reference/consumers.py` are the model."""

from __future__ import annotations

from sentra_sim.engine.compiled.calendar import CALL, delay_of, push
from sentra_sim.engine.compiled.hosts import run_job
from sentra_sim.engine.compiled.layout import GIVEN_UP
from sentra_sim.engine.compiled.memory import (
    Sim,
    breaker_at,
    call_at,
    cold,
    frame_at,
    plain,
    poll_at,
    poll_frame_at,
    replica_at,
)
from sentra_sim.engine.compiled.polls import offer_last
from sentra_sim.engine.trace import OPEN


@cold
def begin_call(sim: Sim, owner: int) -> None:
    """Makes the first attempt at a call, once the breaker lets it through."""
    replica = replica_at(sim, owner)
    replica.attempt, replica.ceiling = 0, min(sim.retry_cap, sim.retry_base)
    call_after(sim, owner, 0.0)


@cold
def call_after(sim: Sim, owner: int, wait: float) -> None:
    """Calls after a pause, or when the breaker is no longer open if that is later."""
    replica = replica_at(sim, owner)
    breaker = breaker_at(sim, owner * sim.call_count + replica.call)
    if breaker.opened:
        wait = max(wait, breaker.until - sim.now)
    if wait > 0.0:
        push(sim, wait, CALL, owner, replica.life)
    else:
        call(sim, owner, replica.life)


@cold
def call(sim: Sim, owner: int, life: int) -> None:
    """Hands a poll to the station that it is to be handed to, or processes it again, unless its consumer has ended."""
    replica = replica_at(sim, owner)
    if life == replica.life and replica.call < 0:
        poll = poll_at(sim, replica.poll)
        run_job(sim, replica.thread, replica.process_work, poll.frames, poll.events)
    elif life == replica.life:
        offer_last(sim, call_at(sim, replica.call).value, replica.poll)


@cold
def goes_again(sim: Sim, owner: int) -> bool:
    """Notes how a call went; tells whether it is to be made again, which then happens by itself."""
    replica = replica_at(sim, owner)
    poll = poll_at(sim, replica.poll)
    failed = poll.failed
    poll.failed = 0
    note(sim, owner * sim.call_count + replica.call, failed)
    if not failed:
        return False
    replica.attempt += 1
    if replica.attempt == sim.retry_attempts:
        for at in range(poll.first, poll.first + poll.frames):
            frame = frame_at(sim, poll_frame_at(sim, at).value)
            frame.over = GIVEN_UP + replica.call
            if frame.outcome == OPEN:
                frame.outcome = sim.given_up
        replica.call = sim.call_count - 1
        return False
    for at in range(poll.first, poll.first + poll.frames):
        frame_at(sim, poll_frame_at(sim, at).value).attempts += 1
    wait = replica.ceiling * delay_of(sim, replica.jitter)
    replica.ceiling = min(sim.retry_cap, replica.ceiling * 2.0)
    call_after(sim, owner, wait)
    return True


@plain
def note(sim: Sim, number: int, failed: int) -> None:
    """Notes in a circuit breaker how a call went."""
    breaker = breaker_at(sim, number)
    if failed:
        breaker.failures += 1
        if breaker.opened or 0 < sim.breaker_failures <= breaker.failures:
            breaker.opened, breaker.passed, breaker.until = 1, 0, sim.now + sim.breaker_open
    elif breaker.opened:
        breaker.passed += 1
        if breaker.passed >= sim.breaker_probes:
            breaker.opened, breaker.failures = 0, 0
    else:
        breaker.failures = 0

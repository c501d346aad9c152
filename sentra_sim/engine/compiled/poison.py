"""Poison events in the compiled engine. `reference/poison.py` and `reference/consumers.py` are the model."""

from __future__ import annotations

from sentra_sim.engine.compiled.calendar import CALL, delay_of, push
from sentra_sim.engine.compiled.hosts import run_job
from sentra_sim.engine.compiled.memory import (
    Row,
    Sim,
    cold,
    event_poison_at,
    frame_at,
    plain,
    poll_at,
    poll_frame_at,
    repeats_of,
    replica_at,
    spoilt_at,
)
from sentra_sim.engine.compiled.poison_tables import IS_POISON
from sentra_sim.engine.trace import SHED


@plain
def spoils(sim: Sim, event: int) -> bool:
    """Tells whether an event that is being taken is poison, and notes it."""
    chance = event_poison_at(sim, event)
    if chance.value >= sim.poison_share:
        return False
    chance.value = IS_POISON
    return True


@cold
def sift(sim: Sim, owner: int) -> bool:
    """Leaves of a processed poll what is to go on; tells whether it goes on now and is not processed again."""
    replica = replica_at(sim, owner)
    poll = poll_at(sim, replica.poll)
    if sim.poisonous and count_bad(sim, poll) > 0:
        if not sim.dead_letters and process_again(sim, owner):
            return False
        replica.tries = 0
        put_aside(sim, poll)
        if poll.frames == 0:
            replica.call = sim.call_count
    if sim.retrying:
        drop_repeats(sim, poll)
    return True


@plain
def count_bad(sim: Sim, poll: Row) -> int:
    """Counts the poison events of a poll."""
    bad = 0
    for at in range(poll.first, poll.first + poll.frames):
        bad += spoilt_at(sim, poll_frame_at(sim, at).value).bad
    return bad


@cold
def process_again(sim: Sim, owner: int) -> bool:
    """Processes a poll with poison events again after a pause, unless they are given up."""
    replica = replica_at(sim, owner)
    poll = poll_at(sim, replica.poll)
    if replica.tries == 0:
        replica.ceiling = min(sim.retry_cap, sim.retry_base)
    replica.tries += 1
    if replica.tries == sim.retry_attempts:
        return False
    for at in range(poll.first, poll.first + poll.frames):
        frame_at(sim, poll_frame_at(sim, at).value).attempts += 1
    wait = replica.ceiling * delay_of(sim, replica.jitter)
    replica.ceiling = min(sim.retry_cap, replica.ceiling * 2.0)
    replica.call -= 1
    if wait > 0.0:
        push(sim, wait, CALL, owner, replica.life)
    else:
        run_job(sim, replica.thread, replica.process_work, poll.frames, poll.events)
    return True


@cold
def put_aside(sim: Sim, poll: Row) -> None:
    """Parts a poll from its poison events; a frame that brings nothing else ends with them."""
    kept = 0
    for at in range(poll.first, poll.first + poll.frames):
        number = poll_frame_at(sim, at).value
        frame, spoilt = frame_at(sim, number), spoilt_at(sim, number)
        repeats = repeats_of(sim, number).value if sim.tracked else 0
        spoilt.dead = spoilt.bad
        if spoilt.bad > 0 and spoilt.bad == frame.events - repeats:
            if frame.outcome != SHED:
                frame.outcome = sim.given_up
            poll.events -= frame.events
        else:
            poll.events -= spoilt.bad
            poll_frame_at(sim, poll.first + kept).value = number
            kept += 1
    poll.frames = kept


@cold
def drop_repeats(sim: Sim, poll: Row) -> None:
    """Leaves those events of a poll that it is the first to bring."""
    for at in range(poll.first, poll.first + poll.frames):
        poll.events -= repeats_of(sim, poll_frame_at(sim, at).value).value

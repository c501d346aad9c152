"""The consumer group's poll loops."""

from __future__ import annotations

from sentra_sim.engine.compiled.calendar import NONE, WAKE, push
from sentra_sim.engine.compiled.hosts import run_job
from sentra_sim.engine.compiled.memory import (
    Sim,
    call_at,
    frame_at,
    more,
    plain,
    poll_at,
    poll_frame_at,
    replica_at,
    request_at,
    request_frame_at,
)
from sentra_sim.engine.compiled.polls import offer_last, stamp
from sentra_sim.engine.compiled.tables import POLLS, TAKEN

FETCHING, PROCESSING = -2, -1  # what a replica does before its calls 0, 1, ...


@plain
def available(sim: Sim, number: int) -> None:
    """Offers the frames of a request to the replicas that own them."""
    request = request_at(sim, number)
    for at in range(request.first, request.first + request.frames):
        frame = request_frame_at(sim, at).value
        owner = frame_at(sim, frame).partition % sim.replica_count
        replica = replica_at(sim, owner)
        frame_at(sim, frame).next = -1
        if replica.head < 0:
            replica.head = frame
        else:
            frame_at(sim, replica.tail).next = frame
        replica.tail = frame
        if replica.waiting:
            replica.waiting = 0
            push(sim, sim.gather, WAKE, owner, NONE)
    request.over = 1


@plain
def take(sim: Sim, owner: int) -> None:
    """Starts a poll with whole frames in order of availability, at least one, or waits."""
    replica = replica_at(sim, owner)
    if replica.head < 0:
        replica.waiting = 1
        return
    if sim.polls == sim.poll_end:
        more(sim, POLLS)
    poll = poll_at(sim, sim.polls)
    poll.replica, poll.first, poll.frames, poll.events = owner, sim.taken, 0, 0
    while replica.head >= 0:
        frame = frame_at(sim, replica.head)
        if poll.frames > 0 and poll.events + frame.events > sim.max_poll_events:
            break
        if sim.taken == sim.taken_end:
            more(sim, TAKEN)
        frame.poll = sim.polls
        poll_frame_at(sim, sim.taken).value = replica.head
        sim.taken += 1
        poll.frames += 1
        poll.events += frame.events
        replica.head = frame.next
    replica.poll, replica.call = sim.polls, FETCHING
    sim.polls += 1
    run_job(sim, replica.thread, replica.fetch_work, poll.frames, poll.events)


@plain
def consumer_done(sim: Sim, owner: int) -> None:
    """Goes on with a replica's poll after its fetch, its processing, a call or its finish."""
    replica = replica_at(sim, owner)
    poll = poll_at(sim, replica.poll)
    replica.call += 1
    if replica.call == PROCESSING:
        stamp(sim, replica.poll, 3)
        run_job(sim, replica.thread, replica.process_work, poll.frames, poll.events)
    elif replica.call < sim.call_count:
        offer_last(sim, call_at(sim, replica.call).value, replica.poll)
    elif replica.call == sim.call_count:
        run_job(sim, replica.thread, replica.finish_work, poll.frames, poll.events)
    else:
        take(sim, owner)

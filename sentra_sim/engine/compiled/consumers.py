"""The consumer group's poll loops."""

from __future__ import annotations

import numpy as np

from sentra_sim.engine.compiled.calls import begin_call, goes_again
from sentra_sim.engine.compiled.hosts import amount, run_job, spend
from sentra_sim.engine.compiled.layout import POLLS, TAKEN
from sentra_sim.engine.compiled.membership import after_poll, polled
from sentra_sim.engine.compiled.memory import (
    Sim,
    call_at,
    cgroup_at,
    cold,
    frame_at,
    hop_at,
    more,
    plain,
    poll_at,
    poll_frame_at,
    replica_at,
    request_at,
    request_frame_at,
    split_at,
    thread_at,
)
from sentra_sim.engine.compiled.poison import sift
from sentra_sim.engine.compiled.polls import offer_frame, offer_last, stamp
from sentra_sim.engine.compiled.waiting import pick, shed
from sentra_sim.engine.plan import GROWING_POLLS

FETCHING, PROCESSING = -2, -1  # what a replica does before its calls 0, 1, ...


@plain
def available(sim: Sim, number: int) -> None:
    """Offers the frames of a request to the consumers that own them."""
    request = request_at(sim, number)
    for at in range(request.first, request.first + request.frames):
        offer_frame(sim, request_frame_at(sim, at).value)


@plain
def resume(sim: Sim, owner: int, life: int) -> None:
    """Lets a consumer poll again, unless it has ended since."""
    if life == replica_at(sim, owner).life:
        take(sim, owner)


@plain
def replied(sim: Sim, poll: int) -> None:
    """Goes on with a poll that a station has answered, unless its consumer was killed meanwhile; later if it is held."""
    owner = poll_at(sim, poll).replica
    replica = replica_at(sim, owner)
    if replica.poll != poll:
        return
    cgroup = cgroup_at(sim, thread_at(sim, replica.thread).cgroup)
    if cgroup.holds > 0:
        cgroup.reply = poll
    elif not (sim.may_fail and goes_again(sim, owner)):
        consumer_done(sim, owner)


@plain
def take(sim: Sim, owner: int) -> None:
    """Starts a poll with whole frames in order of availability, at least one, or waits."""
    replica = replica_at(sim, owner)
    if sim.max_age > 0.0:
        shed(sim, owner)
    if sim.picks:
        pick(sim, owner)
    if replica.head < 0:
        replica.waiting = 1
        return
    if sim.polls == sim.poll_end:
        more(sim, POLLS)
    poll = poll_at(sim, sim.polls)
    poll.replica, poll.first, poll.frames, poll.events, poll.failed = owner, sim.taken, 0, 0, 0
    if sim.by_key:
        split_at(sim, sim.polls).left = 0
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
    sim.lag_events -= poll.events
    if sim.max_poll_interval > 0.0:
        polled(sim, owner)
    if sim.adaptive:
        adapt(sim, owner)
    run_job(sim, replica.thread, replica.fetch_work, poll.frames, poll.events)


@cold
def adapt(sim: Sim, owner: int) -> None:
    """Notes the lag that a poll has left: behind the log, waiting for company buys nothing."""
    replica = replica_at(sim, owner)
    if sim.lag_events > sim.adapt_events * sim.joined_count:
        replica.gather = 0.0
    elif replica.gather < sim.gather:
        replica.gather = min(sim.gather, replica.gather + sim.gather / GROWING_POLLS)


@plain
def consumer_done(sim: Sim, owner: int) -> None:
    """Goes on with a replica's poll after its fetch, its processing, a call or its finish."""
    replica = replica_at(sim, owner)
    poll = poll_at(sim, replica.poll)
    replica.call += 1
    if replica.call == PROCESSING:
        if sim.keeps_first and sim.idempotent and process_refused(sim, owner):
            return
        stamp(sim, replica.poll, 3)
        run_job(sim, replica.thread, replica.process_work, poll.frames, poll.events)
        return
    if sim.sifted and replica.call == 0 and not sift(sim, owner):
        return
    if replica.call < sim.call_count and sim.may_fail:
        begin_call(sim, owner)
    elif replica.call < sim.call_count:
        offer_last(sim, call_at(sim, replica.call).value, replica.poll)
    elif replica.call == sim.call_count:
        run_job(sim, replica.thread, replica.finish_work, poll.frames, poll.events)
    else:
        replica.poll = -1
        if replica.leaving or replica.giving_up or replica.late:
            after_poll(sim, owner)
            if not replica.alive:
                return
        take(sim, owner)


@cold
def process_refused(sim: Sim, owner: int) -> bool:
    """Begins the processing of a poll of which some has taken effect before; tells whether there is any such."""
    replica = replica_at(sim, owner)
    poll = poll_at(sim, replica.poll)
    frames, events = 0, 0
    for at in range(poll.first, poll.first + poll.frames):
        frame = poll_frame_at(sim, at).value
        if not np.isnan(hop_at(sim, frame, sim.effect).value):
            frames += 1
            events += frame_at(sim, frame).events
    if frames == 0:
        return False
    stamp(sim, replica.poll, 3)
    busy = amount(sim, replica.process_work, poll.frames, poll.events)
    busy += amount(sim, replica.dedupe_work, frames, events)
    spend(sim, replica.thread, replica.process_work, busy, poll.events)
    return True

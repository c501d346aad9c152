"""Shards of the log when brokers fail: who leads, who is in sync, what is lost. Models: `reference/leadership.py` and `followers.py`.

A replica is given as its step in the order of the shard's replicas; sets of replicas are bits by step.
"""

from __future__ import annotations

from sentra_sim.engine.compiled.calendar import NONE, PREFER, push
from sentra_sim.engine.compiled.fetches import let_fetch_list
from sentra_sim.engine.compiled.layout import ACKS_ALL, ENDED
from sentra_sim.engine.compiled.memory import (
    Sim,
    broker_at,
    copy_at,
    frame_at,
    plain,
    request_at,
    request_frame_at,
    shard_at,
)
from sentra_sim.engine.compiled.queues import put
from sentra_sim.engine.compiled.requests import new_request, offer, waits_no_more
from sentra_sim.engine.compiled.retries import bits, block, give_back
from sentra_sim.engine.trace import LOST


@plain
def replica(sim: Sim, number: int, step: int) -> int:
    """Returns the broker at a step."""
    return (number + step) % sim.broker_count  # type: ignore[no-any-return]


@plain
def step_of(sim: Sim, number: int, broker: int) -> int:
    """Returns the step of a broker; beyond the replicas if it is none of them."""
    return (broker - number) % sim.broker_count  # type: ignore[no-any-return]


@plain
def reach(sim: Sim, one: int, other: int) -> bool:
    """Tells whether two brokers reach each other."""
    return one >= 0 and broker_at(sim, one).talking != 0 and broker_at(sim, other).talking != 0


@plain
def stop(sim: Sim, number: int) -> None:
    """The leader answers no more: what it has not acknowledged goes back to the producer."""
    shard = shard_at(sim, number)
    shard.stopped = 1
    at = shard.open_head
    while at >= 0:
        request = request_at(sim, at)
        after = request.next
        request.gone = 1
        if not request.acked:
            give_back(sim, at)
        at = after
    for step in range(sim.replication_factor):
        forget_catch_up(sim, number, step)
    block(sim, number)


@plain
def forget_catch_up(sim: Sim, number: int, step: int) -> None:
    """Gives up what a replica is catching up with, if it is."""
    copy = copy_at(sim, number, step)
    if copy.catching_up >= 0:
        request_at(sim, copy.catching_up).gone = 1
        copy.catching_up = -1


@plain
def lose(sim: Sim, number: int, broker: int, keeps_clients: bool) -> None:
    """A replica is cut off from the others; one that does not serve clients either takes its requests along."""
    shard = shard_at(sim, number)
    step = step_of(sim, number, broker)
    if shard.leader != broker:
        fall_behind(sim, number, step)
    elif keeps_clients:
        for other in range(sim.replication_factor):
            if other != step:
                fall_behind(sim, number, other)
    else:
        fall_behind(sim, number, step)
        stop(sim, number)


@plain
def fall_behind(sim: Sim, number: int, step: int) -> None:
    """Notes how far a replica has come."""
    shard, copy = shard_at(sim, number), copy_at(sim, number, step)
    forget_catch_up(sim, number, step)
    frames, events, size = shard.frames, shard.events, shard.bytes
    at = shard.open_head
    while at >= 0:
        request = request_at(sim, at)
        if request.appended and not (request.have >> step) & 1:
            request.sent &= ~(1 << step)
            frames -= request.frames
            events -= request.events
            size -= request.bytes
        at = request.next
    if not copy.behind:
        copy.behind, copy.frames, copy.events, copy.bytes = 1, frames, events, size


@plain
def fence(sim: Sim, number: int, broker: int) -> None:
    """The controller takes a replica for dead: another one leads, or it is in sync no more."""
    shard = shard_at(sim, number)
    step = step_of(sim, number, broker)
    if shard.leader != broker:
        shrink(sim, number, step)
        return
    stop(sim, number)
    elect(sim, number, candidate(sim, number))
    if shard.leader >= 0:
        shard.in_sync &= ~(1 << step)


@plain
def shrink(sim: Sim, number: int, step: int) -> None:
    """Takes a follower out of the in-sync replicas, unless it is the last one."""
    shard = shard_at(sim, number)
    if not (shard.in_sync >> step) & 1 or bits(shard.in_sync) == 1:
        return
    shard.in_sync ^= 1 << step
    refused = sim.acks == ACKS_ALL and bits(shard.in_sync) < sim.min_in_sync
    at = shard.open_head
    while at >= 0:
        request = request_at(sim, at)
        after = request.next
        if not request.gone:
            if not refused:
                waits_no_more(sim, at, step)
            elif not request.appended or request.needs != 0:
                give_back(sim, at)
        at = after
    if refused:
        block(sim, number)


@plain
def candidate(sim: Sim, number: int) -> int:
    """Returns who should lead, -1 if nobody may."""
    first = -1
    for step in range(sim.replication_factor):
        broker = replica(sim, number, step)
        if broker_at(sim, broker).talking:
            if (shard_at(sim, number).in_sync >> step) & 1:
                return broker
            if first < 0:
                first = broker
    return first if sim.unclean else -1


@plain
def elect(sim: Sim, number: int, broker: int) -> None:
    """Makes a replica the leader; what was acknowledged and it does not have is lost, what it has counts as committed."""
    shard = shard_at(sim, number)
    shard.leader = broker
    if broker < 0:
        return
    step = step_of(sim, number, broker)
    shard.stopped = 0
    clean = (shard.in_sync >> step) & 1
    if not clean:
        shard.in_sync = 1 << step
    copy_at(sim, number, step).behind = 0
    at = shard.open_head
    while at >= 0:
        request = request_at(sim, at)
        if not (request.have >> step) & 1:
            lose_request(sim, at)
        elif sim.high_watermark:
            offer(sim, at)
        at = request.next
    shard.open_head, shard.open_tail = -1, -1
    at = shard.held_head
    shard.held_head = -1
    while at >= 0:
        request = request_at(sim, at)
        if not clean and not (request.have >> step) & 1:
            lose_request(sim, at)
        elif not request.lost:
            offer(sim, at)
        at = request.held_next
    if sim.parking:
        offer_again(sim, number, clean != 0)
    bring_up_others(sim, number)


@plain
def offer_again(sim: Sim, number: int, clean: bool) -> None:
    """Lets what no leader was there for be fetched from the new one, unless that does not have it."""
    shard = shard_at(sim, number)
    step = step_of(sim, number, shard.leader)
    unfetched = shard.unfetched_head
    shard.unfetched_head = -1
    frame = unfetched
    while frame >= 0:
        request = request_at(sim, frame_at(sim, frame).request)
        if not clean and not (request.have >> step) & 1 and not request.lost:
            lose_request(sim, frame_at(sim, frame).request)
        frame = frame_at(sim, frame).next
    let_fetch_list(sim, unfetched, shard.leader)


@plain
def bring_up_others(sim: Sim, number: int) -> None:
    """Lets all replicas that are behind and reach the leader catch up."""
    for step in range(sim.replication_factor):
        copy = copy_at(sim, number, step)
        if (
            copy.behind
            and copy.catching_up < 0
            and reach(sim, shard_at(sim, number).leader, replica(sim, number, step))
        ):
            catch_up(sim, number, step)


@plain
def lose_request(sim: Sim, at: int) -> None:
    """Loses a request, and its frames if nobody has fetched them."""
    request = request_at(sim, at)
    request.lost = 1
    if not request.fetched:
        for place in range(request.first, request.first + request.frames):
            frame = frame_at(sim, request_frame_at(sim, place).value)
            if not (sim.parking and frame.fetched):
                sim.lag_events -= frame.events
                frame.outcome, frame.over = LOST, ENDED


@plain
def rejoin(sim: Sim, number: int, broker: int) -> None:
    """A replica reaches the others again."""
    shard = shard_at(sim, number)
    if shard.leader < 0:
        elect(sim, number, candidate(sim, number))
    elif shard.leader == broker and shard.stopped:
        elect(sim, number, broker)
    else:
        bring_up_others(sim, number)


@plain
def catch_up(sim: Sim, number: int, step: int) -> None:
    """Lets a follower fetch all that it has missed."""
    shard, copy = shard_at(sim, number), copy_at(sim, number, step)
    at = new_request(sim, number, sim.listed)  # it lists no frames
    request = request_at(sim, at)
    request.frames, request.events = shard.frames - copy.frames, shard.events - copy.events
    request.bytes = shard.bytes - copy.bytes
    request.catch_up = 1
    copy.catching_up = at
    follower = broker_at(sim, replica(sim, number, step))
    put(sim, follower.server, follower.replicate_work, at)


@plain
def caught_up(sim: Sim, number: int, step: int) -> None:
    """A follower has all that it missed: it is in sync."""
    shard, copy = shard_at(sim, number), copy_at(sim, number, step)
    copy.catching_up, copy.behind = -1, 0
    shard.in_sync |= 1 << step
    at = shard.open_head
    while at >= 0:
        request = request_at(sim, at)
        after = request.next
        if request.appended and not (request.sent >> step) & 1:
            request.have |= 1 << step
            waits_no_more(sim, at, step)
        at = after
    if step == 0 and shard.leader != number:
        push(sim, sim.preferred_election, PREFER, number, NONE)


@plain
def prefer(sim: Sim, number: int) -> None:
    """Gives the leadership back to the first replica."""
    shard = shard_at(sim, number)
    if shard.leader == number or not shard.in_sync & 1 or not reach(sim, shard.leader, number):
        return
    stop(sim, number)
    elect(sim, number, number)

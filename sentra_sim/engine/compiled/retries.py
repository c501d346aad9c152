"""What the producer of the log sends again, after waits that grow, or gives up. `reference/producer.py` is the model."""

from __future__ import annotations

from sentra_sim.engine.compiled.admission import leave_charge, let_go
from sentra_sim.engine.compiled.calendar import NONE, RETRY, push
from sentra_sim.engine.compiled.fetches import serves
from sentra_sim.engine.compiled.layout import ACKS_ALL, ENDED
from sentra_sim.engine.compiled.memory import Sim, cold, frame_at, hop_at, plain, request_at, request_frame_at, shard_at
from sentra_sim.engine.compiled.requests import close_request, new_request, send, send_request
from sentra_sim.engine.compiled.weights import weigh_request
from sentra_sim.engine.trace import SHED


@plain
def bits(mask: int) -> int:
    """Counts the replicas of a set."""
    count = 0
    while mask != 0:
        mask &= mask - 1
        count += 1
    return count


@plain
def give_back(sim: Sim, at: int) -> None:
    """Keeps a request to be sent again."""
    close_request(sim, at)
    request = request_at(sim, at)
    request.gone = 1
    if request.orphan:
        let_go_all(sim, at)
    else:
        add_returned(sim, request.shard, at)


@cold
def let_go_all(sim: Sim, at: int) -> None:
    """Ends the frames of a request that nobody sends any more."""
    request = request_at(sim, at)
    for place in range(request.first, request.first + request.frames):
        let_go(sim, request_frame_at(sim, place).value)


@plain
def add_returned(sim: Sim, number: int, at: int) -> None:
    """Appends a request to those to be sent again."""
    shard = shard_at(sim, number)
    request_at(sim, at).next = -1
    if shard.returned_head < 0:
        shard.returned_head = at
    else:
        request_at(sim, shard.returned_tail).next = at
    shard.returned_tail = at


@plain
def block(sim: Sim, number: int) -> None:
    """Lets the producer back off, longer each time, until the leader takes its requests."""
    shard = shard_at(sim, number)
    if not shard.blocked:
        shard.blocked = 1
        shard.backoff = sim.retry_backoff
        push(sim, shard.backoff, RETRY, number, NONE)


@plain
def retry(sim: Sim, number: int) -> None:
    """Sends again what came back, if the leader takes it."""
    shard = shard_at(sim, number)
    expire(sim, number)
    enough = sim.acks != ACKS_ALL or bits(shard.in_sync) >= sim.min_in_sync
    if not (serves(sim, number) and not shard.stopped and enough):
        shard.backoff = min(2.0 * shard.backoff, sim.retry_backoff_max)
        push(sim, shard.backoff, RETRY, number, NONE)
        return
    shard.blocked = 0
    while shard.returned_head >= 0:
        at = shard.returned_head  # listed until its frames are another's: making that one looks for rows that are free
        again = new_request(sim, number, request_at(sim, at).first)
        request_at(sim, again).frames = request_at(sim, at).frames
        request_at(sim, again).events = request_at(sim, at).events
        request_at(sim, again).bytes = request_at(sim, at).bytes
        shard.returned_head = request_at(sim, at).next
        send(sim, again)
    send_request(sim, number)


@plain
def expire(sim: Sim, number: int) -> None:
    """Gives up frames that have waited for too long."""
    shard = shard_at(sim, number)
    at = shard.returned_head
    shard.returned_head = -1
    while at >= 0:
        after = request_at(sim, at).next
        expire_request(sim, at)
        if request_at(sim, at).frames > 0:
            add_returned(sim, number, at)
        else:
            shard.outstanding -= 1
        at = after
    frame = shard.head
    shard.head = -1
    while frame >= 0:
        following = frame_at(sim, frame).next
        if is_fresh(sim, frame):
            frame_at(sim, frame).next = -1
            if shard.head < 0:
                shard.head = frame
            else:
                frame_at(sim, shard.tail).next = frame
            shard.tail = frame
        frame = following


@plain
def expire_request(sim: Sim, at: int) -> None:
    """Takes frames that have waited for too long out of a request."""
    request = request_at(sim, at)
    kept, events = 0, 0
    for place in range(request.first, request.first + request.frames):
        frame = request_frame_at(sim, place).value
        if is_fresh(sim, frame):
            request_frame_at(sim, request.first + kept).value = frame
            kept += 1
            events += frame_at(sim, frame).events
    request.frames, request.events = kept, events
    request.bytes = events * sim.event_bytes
    if sim.weighs:
        weigh_request(sim, at)


@plain
def is_fresh(sim: Sim, frame: int) -> bool:
    """Tells whether a frame may still be sent; one that may not is shed."""
    if sim.now - hop_at(sim, frame, 1).value < sim.delivery_timeout:
        return True
    frame_at(sim, frame).outcome, frame_at(sim, frame).over = SHED, ENDED
    if sim.tracked:
        leave_charge(sim, frame)
    return False

"""Produce requests of the log: sent, appended, on all in-sync replicas, acknowledged, fetched. `reference/shard.py` is the model."""

from __future__ import annotations

from sentra_sim.engine.compiled.admission import tell_acked
from sentra_sim.engine.compiled.calendar import ACK, AVAILABLE, NONE, delay_of, push
from sentra_sim.engine.compiled.consumers import available
from sentra_sim.engine.compiled.fetches import begin_waiting, let_fetch, serves
from sentra_sim.engine.compiled.layout import ACKS_ALL, ACKS_NONE, LISTED, REQUESTS
from sentra_sim.engine.compiled.memory import (
    Sim,
    broker_at,
    frame_at,
    hop_at,
    inline,
    more,
    plain,
    request_at,
    request_frame_at,
    shard_at,
)
from sentra_sim.engine.compiled.queues import put
from sentra_sim.engine.compiled.retention import forget_offsets
from sentra_sim.engine.compiled.weights import weigh_request


@plain
def new_request(sim: Sim, shard: int, first: int) -> int:
    """Takes the next row for a request that has no frames yet."""
    if sim.requests == sim.request_end:
        more(sim, REQUESTS)
    number = sim.requests
    sim.requests += 1
    row = request_at(sim, number)
    row.shard, row.first, row.frames, row.events = shard, first, 0, 0
    row.catch_up, row.acked, row.appended, row.gone, row.fetched, row.lost = 0, 0, 0, 0, 0, 0
    row.have, row.needs, row.sent, row.orphan = 0, 0, 0, 0
    return number  # type: ignore[no-any-return]


@plain
def send_request(sim: Sim, number: int) -> None:
    """Sends all frames that wait for a shard as one request, if the producer may have another outstanding."""
    shard = shard_at(sim, number)
    if shard.head < 0 or shard.blocked or shard.outstanding == sim.in_flight:
        return
    sent = new_request(sim, number, sim.listed)
    request = request_at(sim, sent)
    while shard.head >= 0:
        if sim.listed == sim.listed_end:
            more(sim, LISTED)
        request_frame_at(sim, sim.listed).value = shard.head
        sim.listed += 1
        request.frames += 1
        request.events += frame_at(sim, shard.head).events
        shard.head = frame_at(sim, shard.head).next
    request.bytes = request.events * sim.event_bytes
    if sim.weighs:
        weigh_request(sim, sent)
    if sim.retains:
        forget_offsets(sim, sent)
    if sim.acks == ACKS_NONE:
        request.acked = 1
        stamp_acked(sim, sent)
    else:
        shard.outstanding += 1
    send(sim, sent)


@plain
def send(sim: Sim, number: int) -> None:
    """Sends a request to the leader."""
    request = request_at(sim, number)
    shard = shard_at(sim, request.shard)
    request.previous, request.next = shard.open_tail, -1
    if shard.open_head < 0:
        shard.open_head = number
    else:
        request_at(sim, shard.open_tail).next = number
    shard.open_tail = number
    if sim.parking:
        begin_waiting(sim, number)
    leader = broker_at(sim, shard.leader)
    put(sim, leader.server, leader.append_work, number)


@inline
def close_request(sim: Sim, number: int) -> None:
    """Takes a request out of its shard's list of open ones."""
    request = request_at(sim, number)
    shard = shard_at(sim, request.shard)
    if request.previous < 0:
        shard.open_head = request.next
    else:
        request_at(sim, request.previous).next = request.next
    if request.next < 0:
        shard.open_tail = request.previous
    else:
        request_at(sim, request.next).previous = request.previous


@plain
def stamp_acked(sim: Sim, number: int) -> None:
    """Notes that a request's frames are acknowledged now."""
    request = request_at(sim, number)
    sim.lag_events += request.events
    for at in range(request.first, request.first + request.frames):
        hop_at(sim, request_frame_at(sim, at).value, 2).value = sim.now
        if sim.tracked and not request.orphan:
            tell_acked(sim, request_frame_at(sim, at).value)


@plain
def answer_producer(sim: Sim, number: int) -> None:
    """Acknowledges a request, as late as its leader's answers are."""
    latency = broker_at(sim, shard_at(sim, request_at(sim, number).shard).leader).latency
    if latency > 0.0:
        push(sim, latency, ACK, number, NONE)
    else:
        acked(sim, number)


@plain
def acked(sim: Sim, number: int) -> None:
    """Acknowledges a request and sends the next."""
    request = request_at(sim, number)
    if request.gone:
        return
    request.acked = 1
    stamp_acked(sim, number)
    shard_at(sim, request.shard).outstanding -= 1 - request.orphan
    offer_early(sim, number)
    send_request(sim, request.shard)


@plain
def offer_early(sim: Sim, number: int) -> None:
    """Offers a request that is acknowledged and appended, unless it must be on all in-sync replicas first."""
    if request_at(sim, number).needs == 0:
        close_request(sim, number)
        offer(sim, number)
    elif not sim.high_watermark:
        offer(sim, number)


@plain
def offer(sim: Sim, number: int) -> None:
    """Lets consumers fetch a request."""
    if sim.parking:
        let_fetch(sim, number)
        return
    leader = broker_at(sim, shard_at(sim, request_at(sim, number).shard).leader)
    push(sim, delay_of(sim, leader.fetch_delay) + leader.latency, AVAILABLE, number, NONE)


@plain
def fetched(sim: Sim, number: int) -> None:
    """Consumers fetch a request, now or when there is a leader."""
    request = request_at(sim, number)
    if request.lost:
        return
    if serves(sim, request.shard):
        request.fetched = 1
        available(sim, number)
        return
    shard = shard_at(sim, request.shard)
    request.held_next = -1
    if shard.held_head < 0:
        shard.held_head = number
    else:
        request_at(sim, shard.held_tail).held_next = number
    shard.held_tail = number


@plain
def waits_no_more(sim: Sim, number: int, step: int) -> None:
    """Notes that a request has not, or no more, to wait for a follower, given as a step in the order of replicas."""
    request = request_at(sim, number)
    if not (request.needs >> step) & 1:
        return
    request.needs ^= 1 << step
    if request.needs != 0:
        return
    if sim.acks == ACKS_ALL and sim.pulling:
        answer_producer(sim, number)
    elif sim.acks == ACKS_ALL:
        leader = broker_at(sim, shard_at(sim, request.shard).leader)
        push(sim, delay_of(sim, leader.replication_delay) + leader.latency, ACK, number, NONE)
    elif request.acked:
        close_request(sim, number)
        if sim.high_watermark:
            offer(sim, number)

"""The partitioned, replicated log."""

from __future__ import annotations

from sentra_sim.engine.compiled.calendar import REPLICATED, push
from sentra_sim.engine.compiled.layout import ACKS_LEADER, ACKS_NONE, BUNCH
from sentra_sim.engine.compiled.memory import (
    Sim,
    broker_at,
    cold,
    copy_at,
    fetch_at,
    frame_at,
    node_at,
    plain,
    request_at,
    shard_at,
)
from sentra_sim.engine.compiled.pulls import let_pull, next_pull, pulled
from sentra_sim.engine.compiled.queues import free, put
from sentra_sim.engine.compiled.requests import answer_producer, offer_early, send_request, waits_no_more
from sentra_sim.engine.compiled.retention import give_offsets
from sentra_sim.engine.compiled.shards import caught_up


@plain
def produce(sim: Sim, frame: int) -> None:
    """Queues a list of frames for the leaders of their partitions; those of one shard go with one request."""
    while frame >= 0:
        after = frame_at(sim, frame).next
        shard = shard_at(sim, frame_at(sim, frame).partition % sim.broker_count)
        frame_at(sim, frame).next = -1
        if shard.head < 0:
            shard.head = frame
        else:
            frame_at(sim, shard.tail).next = frame
        shard.tail = frame
        frame = after
    for number in range(sim.broker_count):
        send_request(sim, number)


@plain
def appended(sim: Sim, number: int) -> None:
    """Sends an appended request to the followers; acknowledges it if none is waited for."""
    request = request_at(sim, number)
    if request.gone:
        return
    shard = shard_at(sim, request.shard)
    leader, in_sync = shard.leader, shard.in_sync
    request.appended, request.appended_at = 1, sim.now
    shard.frames += request.frames
    shard.events += request.events
    shard.bytes += request.bytes
    if sim.retains:
        give_offsets(sim, number)
    talking = broker_at(sim, leader).talking
    for step in range(sim.replication_factor):
        follower = (request.shard + step) % sim.broker_count
        if follower == leader:
            request.have |= 1 << step
            continue
        request.needs |= in_sync & (1 << step)
        broker = broker_at(sim, follower)
        if talking and broker.talking:
            request.sent |= 1 << step
            if sim.pulling:
                let_pull(sim, follower, leader, number)
            else:
                put(sim, broker.server, broker.replicate_work, number)
    if sim.acks == ACKS_NONE:
        offer_early(sim, number)
    elif sim.acks == ACKS_LEADER or request.needs == 0:
        answer_producer(sim, number)


@plain
def write(sim: Sim, number: int, by: int, kind: int) -> None:
    """Queues a request's bytes for a broker's disk."""
    broker = broker_at(sim, by)
    broker.disk_free = max(broker.disk_free, sim.now) + request_at(sim, number).bytes / sim.disk
    push(sim, broker.disk_free - sim.now, kind, number, by)


@plain
def copied(sim: Sim, number: int, follower: int) -> None:
    """A follower has a request, unless it has stopped meanwhile; its leader hears so."""
    broker = broker_at(sim, follower)
    if not broker.up:
        return
    if broker.latency > 0.0:
        push(sim, broker.latency, REPLICATED, number, follower)
    else:
        replicated(sim, number, follower)


@plain
def replicated(sim: Sim, number: int, follower: int) -> None:
    """Notes that one more follower has a request."""
    request = request_at(sim, number)
    if request.gone:
        return
    if request.catch_up == BUNCH:
        pulled(sim, number, follower)
    elif request.catch_up:
        caught_up(sim, request.shard, (follower - request.shard) % sim.broker_count)
    else:
        confirmed(sim, number, follower)


@plain
def confirmed(sim: Sim, number: int, follower: int) -> None:
    """Notes that a follower has a request."""
    request = request_at(sim, number)
    step = (follower - request.shard) % sim.broker_count
    if sim.replica_lag > 0.0:
        copy = copy_at(sim, request.shard, step)
        copy.lag, copy.at = sim.now - request.appended_at, sim.now
    request.have |= 1 << step
    waits_no_more(sim, number, step)


@cold
def replica_comes(sim: Sim, number: int, follower: int) -> None:
    """A follower's next fetch tells its leader that it has what the last one brought."""
    if request_at(sim, number).gone:
        return
    fetch = request_at(sim, number).shard
    at, fetch_at(sim, fetch).answer = fetch_at(sim, fetch).answer, -1
    while at >= 0:
        request, after = node_at(sim, at).ref, node_at(sim, at).next
        free(sim, at)
        at = after
        if not request_at(sim, request).gone:
            confirmed(sim, request, follower)
    next_pull(sim, fetch)

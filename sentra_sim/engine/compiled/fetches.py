"""Fetches that wait at a broker until there is enough to answer them with. `reference/fetches.py` is the model.

Those of consumers come first, by consumer and broker; after the last consumer's those for what nobody owns.
"""

from __future__ import annotations

import numpy as np

from sentra_sim.engine.compiled.calendar import FETCH_COMES, FETCH_OVER, NONE, delay_of, push
from sentra_sim.engine.compiled.memory import (
    Sim,
    broker_at,
    cold,
    fetch_at,
    frame_at,
    inline,
    node_at,
    owner_at,
    request_at,
    request_frame_at,
    shard_at,
)
from sentra_sim.engine.compiled.polls import offer_frame
from sentra_sim.engine.compiled.queues import free, link, new_node
from sentra_sim.engine.compiled.weights import bytes_of
from sentra_sim.engine.trace import LOST


@inline
def serves(sim: Sim, number: int) -> bool:
    """Tells whether a shard's leader answers clients."""
    leader = shard_at(sim, number).leader
    return leader >= 0 and broker_at(sim, leader).up != 0  # type: ignore[no-any-return]


@cold
def add(sim: Sim, number: int, ref: int, size: float) -> None:
    """Puts something at a broker for the next answer to a fetch; `settle` follows."""
    fetch = fetch_at(sim, number)
    link(sim, fetch, new_node(sim, NONE, ref))
    fetch.bytes += size


@cold
def settle(sim: Sim, number: int) -> bool:
    """Tells whether there is enough to answer; lets what is too little wait for the end of the fetch's wait."""
    fetch = fetch_at(sim, number)
    if fetch.away or fetch.head < 0:
        return False
    if fetch.bytes >= fetch.min_bytes:
        return True
    if not fetch.timed:
        fetch.timed = 1
        waits = np.floor((sim.now - fetch.since) / fetch.wait) + 1.0
        push(sim, max(0.0, fetch.since + waits * fetch.wait - sim.now), FETCH_OVER, number, fetch.answers)
    return False


@cold
def take_answer(sim: Sim, number: int) -> int:
    """Takes all that is there for a fetch, which is answered with it; returns the first node."""
    fetch = fetch_at(sim, number)
    fetch.answer, fetch.head = fetch.head, -1
    fetch.bytes = 0.0
    fetch.away, fetch.timed = 1, 0
    fetch.answers += 1
    return fetch.answer  # type: ignore[no-any-return]


@cold
def answer(sim: Sim, number: int) -> None:
    """Answers a consumer's fetch."""
    take_answer(sim, number)
    fetch = fetch_at(sim, number)
    broker = broker_at(sim, fetch.broker)
    push(sim, delay_of(sim, broker.fetch_delay) + broker.latency, FETCH_COMES, number, NONE)


@cold
def come(sim: Sim, number: int) -> bool:
    """The next fetch is at the broker; tells whether it is to be answered at once."""
    fetch = fetch_at(sim, number)
    fetch.away = 0
    fetch.since = sim.now
    return settle(sim, number)


@cold
def fetched_by_consumer(sim: Sim, number: int) -> None:
    """A consumer has an answer; with it, as its way is counted in the answer's, the next fetch comes to the broker."""
    at = fetch_at(sim, number).answer
    while at >= 0:
        frame, after = node_at(sim, at).ref, node_at(sim, at).next
        free(sim, at)
        at = after
        row = frame_at(sim, frame)
        if row.outcome == LOST:
            continue
        shard = row.partition % sim.broker_count
        if serves(sim, shard):
            row.fetched = 1
            offer_frame(sim, frame)
        else:
            wait_for_leader(sim, shard, frame)
    if come(sim, number):
        answer(sim, number)


@cold
def wait_for_leader(sim: Sim, shard: int, frame: int) -> None:
    """Keeps a frame that no leader was there for."""
    frame_at(sim, frame).next = -1
    row = shard_at(sim, shard)
    if row.unfetched_head < 0:
        row.unfetched_head = frame
    else:
        frame_at(sim, row.unfetched_tail).next = frame
    row.unfetched_tail = frame


@cold
def fetch_of(sim: Sim, frame: int, broker: int) -> int:
    """Returns the number of the fetch that brings a frame from a broker."""
    owner = owner_at(sim, frame_at(sim, frame).partition).owner
    consumer = owner if owner >= 0 else sim.replica_count
    return consumer * sim.broker_count + broker  # type: ignore[no-any-return]


@cold
def begin_waiting(sim: Sim, number: int) -> None:
    """Notes of the frames of a new request which it is."""
    request = request_at(sim, number)
    for place in range(request.first, request.first + request.frames):
        row = frame_at(sim, request_frame_at(sim, place).value)
        row.request, row.fetched = number, 0


@cold
def let_fetch(sim: Sim, number: int) -> None:
    """Lets a request's frames be fetched from their leader."""
    request = request_at(sim, number)
    leader = shard_at(sim, request.shard).leader
    for place in range(request.first, request.first + request.frames):
        frame = request_frame_at(sim, place).value
        add(sim, fetch_of(sim, frame, leader), frame, bytes_of(sim, frame))
    for place in range(request.first, request.first + request.frames):
        fetch = fetch_of(sim, request_frame_at(sim, place).value, leader)
        if settle(sim, fetch):
            answer(sim, fetch)


@cold
def let_fetch_list(sim: Sim, frame: int, leader: int) -> None:
    """Lets the frames of a list, those that are not lost, be fetched from a leader."""
    at = frame
    while at >= 0:
        if frame_at(sim, at).outcome != LOST:
            add(sim, fetch_of(sim, at, leader), at, bytes_of(sim, at))
        at = frame_at(sim, at).next
    while frame >= 0:
        after = frame_at(sim, frame).next
        fetch = fetch_of(sim, frame, leader)
        if frame_at(sim, frame).outcome != LOST and settle(sim, fetch):
            answer(sim, fetch)
        frame = after

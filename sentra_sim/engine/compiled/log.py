"""The partitioned, replicated log."""

from __future__ import annotations

from sentra_sim.engine.compiled.calendar import ACK, AVAILABLE, NONE, delay_of, push
from sentra_sim.engine.compiled.memory import (
    Sim,
    broker_at,
    follower_at,
    frame_at,
    hop_at,
    more,
    plain,
    request_at,
    request_frame_at,
)
from sentra_sim.engine.compiled.queues import put
from sentra_sim.engine.compiled.tables import LISTED, REQUESTS


@plain
def produce(sim: Sim, frame: int) -> None:
    """Queues a list of frames for the leaders of their partitions; those of one leader go with one request."""
    while frame >= 0:
        after = frame_at(sim, frame).next
        broker = broker_at(sim, frame_at(sim, frame).partition % sim.broker_count)
        frame_at(sim, frame).next = -1
        if broker.head < 0:
            broker.head = frame
        else:
            frame_at(sim, broker.tail).next = frame
        broker.tail = frame
        frame = after
    for number in range(sim.broker_count):
        send_request(sim, number)


@plain
def send_request(sim: Sim, number: int) -> None:
    """Sends all frames that wait for a broker as one request, if it may have another outstanding."""
    broker = broker_at(sim, number)
    if broker.head < 0 or broker.outstanding == sim.in_flight:
        return
    broker.outstanding += 1
    if sim.requests == sim.request_end:
        more(sim, REQUESTS)
    request = request_at(sim, sim.requests)
    request.broker, request.first, request.frames, request.events = number, sim.listed, 0, 0
    request.missing, request.over = broker.followers, 0
    while broker.head >= 0:
        if sim.listed == sim.listed_end:
            more(sim, LISTED)
        request_frame_at(sim, sim.listed).value = broker.head
        sim.listed += 1
        request.frames += 1
        request.events += frame_at(sim, broker.head).events
        broker.head = frame_at(sim, broker.head).next
    sim.requests += 1
    put(sim, broker.server, broker.append_work, sim.requests - 1)


@plain
def appended(sim: Sim, number: int) -> None:
    """Sends an appended request to the followers; acknowledges it if none is waited for."""
    request = request_at(sim, number)
    broker = broker_at(sim, request.broker)
    for at in range(broker.follower_first, broker.follower_first + broker.followers):
        follower = broker_at(sim, follower_at(sim, at).value)
        put(sim, follower.server, follower.replicate_work, number)
    if broker.followers == 0 or not sim.acks_all:
        acked(sim, number)


@plain
def replicated(sim: Sim, number: int) -> None:
    """Notes that one more follower has a request."""
    request = request_at(sim, number)
    request.missing -= 1
    if request.missing == 0 and sim.acks_all:
        push(sim, delay_of(sim, broker_at(sim, request.broker).replication_delay), ACK, number, NONE)


@plain
def acked(sim: Sim, number: int) -> None:
    """Acknowledges a request and sends the next."""
    request = request_at(sim, number)
    broker = broker_at(sim, request.broker)
    for at in range(request.first, request.first + request.frames):
        hop_at(sim, request_frame_at(sim, at).value, 2).value = sim.now
    broker.outstanding -= 1
    push(sim, delay_of(sim, broker.fetch_delay), AVAILABLE, number, NONE)
    send_request(sim, request.broker)

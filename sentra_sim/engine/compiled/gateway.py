"""The life of the gateway's process: it takes messages, drains, is down, or starts. `reference/gateway.py` is the model."""

from __future__ import annotations

from sentra_sim.engine.compiled.admission import let_go, make_unheard, tell_refused
from sentra_sim.engine.compiled.batcher import close_all
from sentra_sim.engine.compiled.calendar import GATEWAY_READY, NONE, push
from sentra_sim.engine.compiled.charge import end_gateway, end_if_drained
from sentra_sim.engine.compiled.freezer import cancel_job, renew
from sentra_sim.engine.compiled.jobs import put_last
from sentra_sim.engine.compiled.memory import (
    Sim,
    acked_frame_at,
    cold,
    first_event_at,
    frame_at,
    frame_of,
    node_at,
    open_at,
    pressure_of,
    request_at,
    request_frame_at,
    server_at,
    shard_at,
    thread_at,
)
from sentra_sim.engine.compiled.queues import free
from sentra_sim.engine.compiled.retries import let_go_all
from sentra_sim.engine.trace import EVENT_SHED


@cold
def comes(sim: Sim, message: int) -> None:
    """Lets a message in that comes to a gateway, or refuses it as a whole; the last act of whatever calls it."""
    if sim.takes:
        sim.in_charge += 1
        put_last(sim, sim.batcher_server, sim.receive_work, message)
    else:
        shed_message(sim, message)
        tell_refused(sim, message)


@cold
def stop_gateway(sim: Sim) -> None:
    """Lets a gateway end in order: it takes nothing more and brings to an end what it has."""
    if not sim.gateway_up:
        kill_gateway(sim)
    elif sim.takes:
        sim.takes = 0
        close_all(sim)
        end_if_drained(sim)


@cold
def kill_gateway(sim: Sim) -> None:
    """Ends a gateway at once."""
    if sim.gateway_up:
        lose_all(sim)
    if sim.gateway_up or sim.gateway_starting:
        end_gateway(sim)


@cold
def start_gateway(sim: Sim) -> None:
    """Starts a gateway that is down; one that drains still is killed first."""
    if sim.takes or sim.gateway_starting:
        return
    kill_gateway(sim)
    sim.gateway_starting = 1
    renew(sim, sim.gateway_cgroup)
    push(sim, sim.gateway_restart, GATEWAY_READY, NONE, sim.gateway_life)


@cold
def gateway_ready(sim: Sim, life: int) -> None:
    """Lets a gateway take messages that has started."""
    if life == sim.gateway_life:
        sim.gateway_up, sim.takes, sim.gateway_starting = 1, 1, 0


@cold
def lose_all(sim: Sim) -> None:
    """Sheds what only the process knew of; what the brokers have goes on, unheard."""
    lose_jobs(sim)
    for partition in range(sim.partition_count):
        row = open_at(sim.open_frame, partition)
        if row.frame >= 0:
            frame_at(sim, row.frame).events = sim.max_events - row.room
            let_go(sim, row.frame)
            row.frame = -1
    sim.open_head, sim.open_tail = -1, -1
    for number in range(sim.broker_count):
        disown(sim, number)
    if sim.gated:
        for place in range(pressure_of(sim).acked):
            make_unheard(sim, acked_frame_at(sim, place).value)


@cold
def lose_jobs(sim: Sim) -> None:
    """Drops what the gateway's thread is at and what waits for it."""
    queue = server_at(sim, sim.batcher_server)
    node = queue.head
    queue.head = -1
    while node >= 0:
        after = node_at(sim, node).next
        lose_job(sim, node_at(sim, node).work, node_at(sim, node).ref)
        free(sim, node)
        node = after
    thread = 0
    while thread_at(sim, thread).server != sim.batcher_server:
        thread += 1
    if sim.now > 0.0 and queue.idle_head != thread:  # at the very start it is neither idle nor busy
        cancel_job(sim, thread)
        lose_job(sim, thread_at(sim, thread).work, thread_at(sim, thread).ref)
        thread_at(sim, thread).next = -1
        queue.idle_head, queue.idle_tail = thread, thread


@cold
def lose_job(sim: Sim, work: int, ref: int) -> None:
    """Drops a message that is in no frame yet, or a list of closed frames."""
    if work == sim.receive_work:
        shed_message(sim, ref)
    else:
        let_go_list(sim, ref)


@cold
def let_go_list(sim: Sim, frame: int) -> None:
    """Ends the frames of a list."""
    while frame >= 0:
        let_go(sim, frame)
        frame = frame_at(sim, frame).next


@cold
def disown(sim: Sim, number: int) -> None:
    """Ends what the producer was to send to a shard's leader, and leaves to itself what that has."""
    shard = shard_at(sim, number)
    let_go_list(sim, shard.head)
    shard.head = -1
    at = shard.returned_head
    shard.returned_head = -1
    while at >= 0:
        let_go_all(sim, at)
        at = request_at(sim, at).next
    shard.outstanding = 0
    at = shard.open_head
    while at >= 0:
        request = request_at(sim, at)
        if not request.acked:
            request.orphan = 1
            for place in range(request.first, request.first + request.frames):
                make_unheard(sim, request_frame_at(sim, place).value)
        at = request.next


@cold
def shed_message(sim: Sim, message: int) -> None:
    """Sheds the events of a message that no frame has taken."""
    for event in range(first_event_at(sim, message).value, first_event_at(sim, message + 1).value):
        taken_by = frame_of(sim.event_frame, event)
        if taken_by.value < 0:
            taken_by.value = EVENT_SHED

"""Consumers and what lies behind them in the compiled engine, and what each thread does next. `reference.py` is the model."""

from __future__ import annotations

from sentra_sim.engine._calendar import (
    ARRIVE,
    FLUSHED,
    HANDED,
    HEARD,
    NONE,
    ONE,
    REPLY,
    TICK_DUE,
    VISIBLE,
    WAKE,
    WRITER_DUE,
    WRITER_WOKEN,
    delay_of,
    push,
    quiet,
)
from sentra_sim.engine._hosts import run_job
from sentra_sim.engine._memory import (
    Sim,
    background_at,
    broker_at,
    call_at,
    first_event_at,
    frame_at,
    hop_at,
    inline,
    link_at,
    node_at,
    plain,
    poll_at,
    poll_frame_at,
    replica_at,
    request_at,
    request_frame_at,
    server_at,
    station_at,
    thread_at,
)
from sentra_sim.engine._queues import free, get_job, link, match_jobs, new_node, put
from sentra_sim.engine._upstream import appended, buffer, close_job, produce, replicated, source_next
from sentra_sim.engine.tables import BATCHER, CONSUMER, LOG, SEND, SERVE, SOURCE, SUBSCRIBE, TICK

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


@plain
def take(sim: Sim, owner: int) -> None:
    """Starts a poll with whole frames in order of availability, at least one, or waits."""
    replica = replica_at(sim, owner)
    if replica.head < 0:
        replica.waiting = 1
        return
    poll = poll_at(sim, sim.polls)
    poll.replica, poll.first, poll.frames, poll.events = owner, sim.taken, 0, 0
    while replica.head >= 0:
        frame = frame_at(sim, replica.head)
        if poll.frames > 0 and poll.events + frame.events > sim.max_poll_events:
            break
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


@plain
def stamp(sim: Sim, number: int, hop: int) -> None:
    """Notes that a poll's frames have reached a hop now."""
    poll = poll_at(sim, number)
    for at in range(poll.first, poll.first + poll.frames):
        hop_at(sim, poll_frame_at(sim, at).value, hop).value = sim.now


@plain
def offer(sim: Sim, number: int, poll: int) -> None:
    """Hands a poll to a station."""
    station = station_at(sim, number)
    if station.handover >= 0:
        push(sim, delay_of(sim, station.handover), HANDED, number, poll)
        return
    if station.flush == 0.0:
        put(sim, station.server, station.work, poll)
        return
    link(sim, station, new_node(sim, NONE, poll))
    if station.writer_waiting:
        station.writer_waiting = 0
        push(sim, 0.0, WRITER_WOKEN, number, NONE)


@plain
def offer_last(sim: Sim, number: int, poll: int) -> None:
    """Hands a poll to a station, as the last act of whatever calls it."""
    station = station_at(sim, number)
    if station.flush == 0.0:
        put_last(sim, station.server, station.work, poll)
    else:
        offer(sim, number, poll)


@plain
def put_last(sim: Sim, server: int, work: int, ref: int) -> None:
    """Queues a job, as the last act of whatever calls it."""
    if not quiet(sim):
        put(sim, server, work, ref)
        return
    queue = server_at(sim, server)
    link(sim, queue, new_node(sim, work, ref))
    first = match_jobs(sim, server)
    if first >= 0:
        got(sim, first)


@plain
def visible(sim: Sim, number: int, poll: int) -> None:
    """Stamps a poll and hands it on."""
    station = station_at(sim, number)
    stamp(sim, poll, station.hop)
    for at in range(station.link_first, station.link_first + station.links):
        offer(sim, link_at(sim, at).value, poll)


@plain
def reply_last(sim: Sim, number: int, poll: int) -> None:
    """Tells the consumer if it waits for a station, as the last act of whatever calls it."""
    if not station_at(sim, number).called:
        return
    if quiet(sim):
        consumer_done(sim, poll_at(sim, poll).replica)
    else:
        push(sim, 0.0, REPLY, poll_at(sim, poll).replica, NONE)


@plain
def writer_next(sim: Sim, number: int) -> None:
    """Lets a writer wait for polls, unless there are some."""
    if station_at(sim, number).head < 0:
        station_at(sim, number).writer_waiting = 1
    else:
        writer_due(sim, number)


@plain
def writer_due(sim: Sim, number: int) -> None:
    """Lets a writer wait until it may write again."""
    station, now = station_at(sim, number), sim.now
    if station.last_start < 0.0:
        station.last_start = now
    wait = station.last_start + station.flush - now
    if wait > 0.0:
        push(sim, wait, WRITER_DUE, number, NONE)
    else:
        write(sim, number)


@plain
def write(sim: Sim, number: int) -> None:
    """Writes all gathered polls as one job."""
    station = station_at(sim, number)
    station.last_start = sim.now
    frames, events, node = 0, 0, station.head
    while node >= 0:
        frames += poll_at(sim, node_at(sim, node).ref).frames
        events += poll_at(sim, node_at(sim, node).ref).events
        node = node_at(sim, node).next
    thread_at(sim, station.thread).ref = station.head
    station.head = -1
    run_job(sim, station.thread, station.work, frames, events)


@plain
def flushed(sim: Sim, number: int, node: int) -> None:
    """Makes the polls of a job visible and frees their nodes."""
    while node >= 0:
        after = node_at(sim, node).next
        poll = node_at(sim, node).ref
        free(sim, node)
        visible(sim, number, poll)
        if station_at(sim, number).called:
            push(sim, 0.0, REPLY, poll_at(sim, poll).replica, NONE)
        node = after


@plain
def tick_wait(sim: Sim, number: int) -> None:
    """Waits until a background job is due, unless it is."""
    wait = background_at(sim, number).due - sim.now
    if wait > 0.0:
        push(sim, wait, TICK_DUE, number, NONE)
    else:
        tick(sim, number)


@plain
def tick(sim: Sim, number: int) -> None:
    """Runs a background job while the load lasts."""
    job = background_at(sim, number)
    if sim.now < sim.seconds:
        run_job(sim, job.thread, job.work, NONE, NONE)


@plain
def got(sim: Sim, thread: int) -> None:
    """A thread begins the job that it took from its queue."""
    row = thread_at(sim, thread)
    if row.role == BATCHER:
        if row.work == sim.close_work:
            close_job(sim, thread, row.work, row.ref)
        else:
            run_job(
                sim, thread, row.work, ONE, first_event_at(sim, row.ref + 1).value - first_event_at(sim, row.ref).value
            )
    elif row.role == LOG:
        run_job(sim, thread, row.work, request_at(sim, row.ref).frames, request_at(sim, row.ref).events)
    else:
        run_job(sim, thread, row.work, poll_at(sim, row.ref).frames, poll_at(sim, row.ref).events)


@inline
def done(sim: Sim, thread: int) -> None:
    """A thread's job is done: its station goes on, then the thread looks for its next job."""
    row = thread_at(sim, thread)
    role, ref = row.role, row.ref
    if role == SOURCE:
        push(sim, delay_of(sim, sim.network_delay), ARRIVE, sim.message, NONE)
        sim.message += 1
        source_next(sim)
    elif role == CONSUMER:
        consumer_done(sim, row.unit)
    elif role == TICK:
        background_at(sim, row.unit).due += background_at(sim, row.unit).every
        tick_wait(sim, row.unit)
    elif role == BATCHER:
        if row.work == sim.close_work:
            produce(sim, ref)
        else:
            buffer(sim, ref)
        next_job(sim, thread)
    elif role == LOG:
        if row.work == broker_at(sim, row.unit).append_work:
            appended(sim, ref)
        else:
            replicated(sim, ref)
        next_job(sim, thread)
    else:
        station_done(sim, thread)


@inline
def next_job(sim: Sim, thread: int) -> None:
    """Lets a thread take its next job or wait for one; the last act of whatever calls it."""
    first = get_job(sim, thread)
    if first >= 0:
        got(sim, first)


@inline
def station_done(sim: Sim, thread: int) -> None:
    """Goes on with a poll that a thread of a pool, a store or a broadcast is done with."""
    row = thread_at(sim, thread)
    role, ref, station = row.role, row.ref, station_at(sim, row.unit)
    if role == SERVE:
        push(sim, delay_of(sim, station.delay), VISIBLE, row.unit, ref)
        next_job(sim, thread)
    elif role == SEND:
        stamp(sim, ref, station.hop)
        push(sim, delay_of(sim, station.delay), HEARD, row.unit, ref)
        next_job(sim, thread)
    elif role == SUBSCRIBE:
        stamp(sim, ref, station.second_hop)
        next_job(sim, thread)
    else:
        push(sim, delay_of(sim, station.delay), FLUSHED, row.unit, ref)
        writer_next(sim, row.unit)

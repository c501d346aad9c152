"""The batcher: messages in, frames out."""

from __future__ import annotations

import numpy as np

from sentra_sim.engine.compiled.admission import admit, carry, tell_refused
from sentra_sim.engine.compiled.calendar import LINGER, NONE, delay_of, push
from sentra_sim.engine.compiled.hosts import run_job
from sentra_sim.engine.compiled.memory import (
    Sim,
    cold,
    first_event_at,
    frame_at,
    frame_of,
    hop_at,
    open_at,
    partition_at,
    plain,
)
from sentra_sim.engine.compiled.queues import put
from sentra_sim.engine.compiled.releases import note_event
from sentra_sim.engine.compiled.weights import next_size
from sentra_sim.engine.trace import EVENT_SHED, OPEN, SAME_MOMENT_S


@plain
def buffer(sim: Sim, message: int) -> None:
    """Puts a message's events into the open frames of their partitions."""
    # Local copies, as a row written to might for all that the compiler knows hold an address.
    partitions, frames, opened = sim.event_partition, sim.event_frame, sim.open_frame
    for event in range(first_event_at(sim, message).value, first_event_at(sim, message + 1).value):
        partition = partition_at(partitions, event).value
        row = open_at(opened, partition)
        if row.frame < 0:
            open_frame(sim, partition)
            if sim.full:
                return
        frame_of(frames, event).value = row.frame
        row.room -= 1
        if row.room == 0:
            close_frame(sim, row.frame)
    send_closed(sim)


@cold
def buffer_tracked(sim: Sim, message: int) -> None:
    """Does the same with what is admitted; an event that a frame has taken already is a repeat."""
    refused = False
    for event in range(first_event_at(sim, message).value, first_event_at(sim, message + 1).value):
        taken_by = frame_of(sim.event_frame, event)
        if sim.gated and not admit(sim, event):
            refused = True
            if taken_by.value < 0:
                taken_by.value = EVENT_SHED
            continue
        partition = partition_at(sim.event_partition, event).value
        if sim.weighs and not weigh(sim, partition):
            return
        row = open_at(sim.open_frame, partition)
        if row.frame < 0:
            open_frame(sim, partition)
            if sim.full:
                return
        if taken_by.value < 0:
            taken_by.value = row.frame
            carry(sim, row.frame, event, 1)
            if sim.noted:
                note_event(sim, row.frame, event)
        else:
            carry(sim, row.frame, event, 0)
        row.room -= 1
        if row.room == 0 or is_heavy(sim, row.frame):
            close_frame(sim, row.frame)
    send_closed(sim)
    if refused:
        tell_refused(sim, message)


@cold
def buffer_weighed(sim: Sim, message: int) -> None:
    """Does the same where frames know their sizes."""
    for event in range(first_event_at(sim, message).value, first_event_at(sim, message + 1).value):
        partition = partition_at(sim.event_partition, event).value
        if not weigh(sim, partition):
            return
        row = open_at(sim.open_frame, partition)
        frame_of(sim.event_frame, event).value = row.frame
        row.room -= 1
        if row.room == 0 or is_heavy(sim, row.frame):
            close_frame(sim, row.frame)
    send_closed(sim)


@cold
def weigh(sim: Sim, partition: int) -> bool:
    """Makes room for the next event of a partition in its open frame, or in a new one; tells whether there is any."""
    row = open_at(sim.open_frame, partition)
    size = next_size(sim, row.frame)
    if row.frame >= 0 and frame_at(sim, row.frame).bytes + size > sim.batch_bytes:
        close_frame(sim, row.frame)
        if sim.size_per_frame:
            size = next_size(sim, row.frame)
    if row.frame < 0:
        open_frame(sim, partition)
        if sim.full:
            return False
        frame_at(sim, row.frame).bytes = 0.0
    frame_at(sim, row.frame).bytes += size
    frame_at(sim, row.frame).size = size
    return True


@cold
def is_heavy(sim: Sim, frame: int) -> bool:
    """Tells whether a frame is full by its size."""
    return sim.weighs != 0 and frame_at(sim, frame).bytes >= sim.batch_bytes  # type: ignore[no-any-return]


@plain
def open_frame(sim: Sim, partition: int) -> None:
    """Opens a partition's next frame, and sets the timer if no other frame has."""
    frame = sim.frames
    if frame == sim.max_frames:
        sim.full = 2
        return
    sim.frames += 1
    row = frame_at(sim, frame)
    row.partition, row.events, row.poll = partition, 0, -1
    row.outcome, row.attempts = OPEN, 1
    hop_at(sim, frame, 0).value = sim.now
    for hop in range(1, sim.hop_count):
        hop_at(sim, frame, hop).value = np.nan
    open_at(sim.open_frame, partition).frame = frame
    open_at(sim.open_frame, partition).room = sim.max_events
    if not sim.timer_set:
        set_timer(sim, sim.linger)


@plain
def set_timer(sim: Sim, wait: float) -> None:
    """Sets the timer to the end of a linger; it fires late."""
    sim.timer_set = 1
    push(sim, wait + delay_of(sim, sim.timer_delay), LINGER, NONE, NONE)


@plain
def tick_linger(sim: Sim) -> None:
    """Closes the frames whose linger is over and sets the timer to the next end of a linger."""
    sim.timer_set = 0
    first = np.inf
    for partition in range(sim.partition_count):
        frame = open_at(sim.open_frame, partition).frame
        if frame >= 0:
            received = hop_at(sim, frame, 0).value
            if received + sim.linger <= sim.now + SAME_MOMENT_S:
                close_frame(sim, frame)
            else:
                first = min(first, received)
    send_closed(sim)
    if first < np.inf:
        set_timer(sim, first + sim.linger - sim.now)


@plain
def close_frame(sim: Sim, frame: int) -> None:
    """Closes a frame; it goes with the others that close at this moment."""
    row = open_at(sim.open_frame, frame_at(sim, frame).partition)
    row.frame = -1
    frame_at(sim, frame).events = sim.max_events - row.room
    hop_at(sim, frame, 1).value = sim.now
    frame_at(sim, frame).next = -1
    if sim.closing_head < 0:
        sim.closing_head = frame
    else:
        frame_at(sim, sim.closing_tail).next = frame
    sim.closing_tail = frame


@plain
def send_closed(sim: Sim) -> None:
    """Queues the frames that closed at this moment, as one job."""
    if sim.closing_head >= 0:
        put(sim, sim.batcher_server, sim.close_work, sim.closing_head)
        sim.closing_head = -1


@plain
def close_job(sim: Sim, thread: int, work: int, frame: int) -> None:
    """Begins the job of closing a list of frames."""
    frames, events = 0, 0
    while frame >= 0:
        frames += 1
        events += frame_at(sim, frame).events
        frame = frame_at(sim, frame).next
    run_job(sim, thread, work, frames, events)


@plain
def count_open(sim: Sim) -> None:
    """Counts the events of the frames that the end of the run finds open."""
    for partition in range(sim.partition_count):
        row = open_at(sim.open_frame, partition)
        if row.frame >= 0:
            frame_at(sim, row.frame).events = sim.max_events - row.room

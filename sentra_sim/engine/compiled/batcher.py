"""The batcher: messages in, frames out."""

from __future__ import annotations

import numpy as np

from sentra_sim.engine.compiled.admission import admit, carry, carry_nothing, tell_refused
from sentra_sim.engine.compiled.calendar import LINGER, NONE, delay_of, push
from sentra_sim.engine.compiled.charge import leaves
from sentra_sim.engine.compiled.heaps import heap_insert, heap_remove_first
from sentra_sim.engine.compiled.hosts import run_job
from sentra_sim.engine.compiled.layout import FRAMES, UNDER_WAY
from sentra_sim.engine.compiled.memory import (
    Row,
    Sim,
    cold,
    entry_at,
    first_event_at,
    frame_at,
    frame_of,
    hop_at,
    more,
    open_at,
    partition_at,
    plain,
)
from sentra_sim.engine.compiled.queues import put
from sentra_sim.engine.compiled.releases import mark_nothing, note_event
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
        if sim.weighs:
            weigh(sim, partition)
        row = open_at(sim.open_frame, partition)
        if row.frame < 0:
            open_frame(sim, partition)
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
    if sim.mortal:
        if not sim.takes:
            close_all(sim)
        leaves(sim)


@cold
def close_all(sim: Sim) -> None:
    """Closes all open frames, by partition."""
    for partition in range(sim.partition_count):
        frame = open_at(sim.open_frame, partition).frame
        if frame >= 0:
            close_frame(sim, frame)
    send_closed(sim)


@cold
def buffer_weighed(sim: Sim, message: int) -> None:
    """Does the same where frames know their sizes."""
    for event in range(first_event_at(sim, message).value, first_event_at(sim, message + 1).value):
        partition = partition_at(sim.event_partition, event).value
        weigh(sim, partition)
        row = open_at(sim.open_frame, partition)
        frame_of(sim.event_frame, event).value = row.frame
        row.room -= 1
        if row.room == 0 or is_heavy(sim, row.frame):
            close_frame(sim, row.frame)
    send_closed(sim)


@cold
def weigh(sim: Sim, partition: int) -> None:
    """Makes room for the next event of a partition in its open frame, or in a new one."""
    row = open_at(sim.open_frame, partition)
    size = next_size(sim, row.frame)
    if row.frame >= 0 and frame_at(sim, row.frame).bytes + size > sim.batch_bytes:
        close_frame(sim, row.frame)
        if sim.size_per_frame:
            size = next_size(sim, row.frame)
    if row.frame < 0:
        open_frame(sim, partition)
        frame_at(sim, row.frame).bytes = 0.0
    frame_at(sim, row.frame).bytes += size
    frame_at(sim, row.frame).size = size


@cold
def is_heavy(sim: Sim, frame: int) -> bool:
    """Tells whether a frame is full by its size."""
    return sim.weighs != 0 and frame_at(sim, frame).bytes >= sim.batch_bytes  # type: ignore[no-any-return]


@plain
def open_frame(sim: Sim, partition: int) -> None:
    """Opens a partition's next frame, and sets the timer if no other frame has."""
    if sim.frames == sim.frame_end:
        more(sim, FRAMES)
    frame = sim.frames
    sim.frames += 1
    row = frame_at(sim, frame)
    row.partition, row.events, row.poll = partition, 0, -1
    row.outcome, row.attempts, row.over = OPEN, 1, UNDER_WAY
    if sim.tracked:
        carry_nothing(sim, frame)
    if sim.noted:
        mark_nothing(sim, frame)
    hop_at(sim, frame, 0).value = sim.now
    for hop in range(1, sim.hop_count):
        hop_at(sim, frame, hop).value = np.nan
    open_at(sim.open_frame, partition).frame = frame
    open_at(sim.open_frame, partition).room = sim.max_events
    link_open(sim, partition)
    if not sim.timer_set:
        set_timer(sim, sim.linger)


@plain
def link_open(sim: Sim, partition: int) -> None:
    """Appends a partition to those with an open frame; as all frames linger equally long, the first of them is due first."""
    row = open_at(sim.open_frame, partition)
    row.before, row.after = sim.open_tail, -1
    if sim.open_tail < 0:
        sim.open_head = partition
    else:
        open_at(sim.open_frame, sim.open_tail).after = partition
    sim.open_tail = partition


@plain
def unlink_open(sim: Sim, row: Row) -> None:
    """Takes a partition out of those with an open frame."""
    if row.before < 0:
        sim.open_head = row.after
    else:
        open_at(sim.open_frame, row.before).after = row.after
    if row.after < 0:
        sim.open_tail = row.before
    else:
        open_at(sim.open_frame, row.after).before = row.before


@plain
def set_timer(sim: Sim, wait: float) -> None:
    """Sets the timer to the end of a linger; it fires late."""
    sim.timer_set = 1
    push(sim, wait + delay_of(sim, sim.timer_delay), LINGER, NONE, NONE)


@plain
def tick_linger(sim: Sim) -> None:
    """Closes the frames whose linger is over, by partition, and sets the timer to the next end of a linger."""
    sim.timer_set = 0
    due, partition = 0, sim.open_head
    while partition >= 0:
        row = open_at(sim.open_frame, partition)
        if hop_at(sim, row.frame, 0).value + sim.linger > sim.now + SAME_MOMENT_S:
            break
        entry = heap_insert(sim.due_partitions, due, partition, 0)
        entry.time, entry.seq, entry.detail = partition, 0, partition
        due += 1
        partition = row.after
    while due > 0:
        frame = open_at(sim.open_frame, entry_at(sim.due_partitions, 0).detail).frame
        due -= 1
        heap_remove_first(sim.due_partitions, due)
        close_frame(sim, frame)
    send_closed(sim)
    if sim.open_head >= 0:
        first = hop_at(sim, open_at(sim.open_frame, sim.open_head).frame, 0).value
        set_timer(sim, first + sim.linger - sim.now)


@plain
def close_frame(sim: Sim, frame: int) -> None:
    """Closes a frame; it goes with the others that close at this moment."""
    row = open_at(sim.open_frame, frame_at(sim, frame).partition)
    row.frame = -1
    unlink_open(sim, row)
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

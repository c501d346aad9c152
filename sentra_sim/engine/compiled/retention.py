"""What the log keeps of its partitions, by time and by size. `reference/retention.py` is the model."""

from __future__ import annotations

import numpy as np

from sentra_sim.engine.compiled.calendar import NONE, RETAIN, push
from sentra_sim.engine.compiled.layout import ENDED, SEGMENTS
from sentra_sim.engine.compiled.memory import (
    Row,
    Sim,
    cold,
    frame_at,
    hop_at,
    more,
    part_at,
    replica_at,
    request_at,
    request_frame_at,
    segment_at,
)
from sentra_sim.engine.compiled.weights import bytes_of
from sentra_sim.engine.trace import LOST, OPEN


@cold
def forget_offsets(sim: Sim, number: int) -> None:
    """Notes that the frames of a new request were not appended yet."""
    request = request_at(sim, number)
    for place in range(request.first, request.first + request.frames):
        frame_at(sim, request_frame_at(sim, place).value).offset = -1


@cold
def give_offsets(sim: Sim, number: int) -> None:
    """Gives the frames of a request their offsets, unless they were appended before."""
    request = request_at(sim, number)
    for place in range(request.first, request.first + request.frames):
        frame = request_frame_at(sim, place).value
        row = frame_at(sim, frame)
        if row.offset >= 0:
            continue
        part, size = part_at(sim, row.partition), bytes_of(sim, frame)
        if part.active_bytes > 0.0 and part.active_bytes + size > sim.segment_bytes:
            roll(sim, part)
        row.offset = part.end
        part.end += row.events
        part.bytes += size
        part.active_bytes += size
        part.last = sim.now


@cold
def roll(sim: Sim, part: Row) -> None:
    """Closes a partition's active segment."""
    if sim.free_segment < 0:
        more(sim, SEGMENTS)
    number = sim.free_segment
    row = segment_at(sim, number)
    sim.free_segment = row.next
    row.end, row.bytes, row.last, row.next = part.end, part.active_bytes, part.last, -1
    part.active_bytes = 0.0
    if part.head < 0:
        part.head = number
    else:
        segment_at(sim, part.tail).next = number
    part.tail = number


@cold
def delete_first(sim: Sim, part: Row) -> None:
    """Deletes a partition's first segment."""
    number = part.head
    row = segment_at(sim, number)
    part.start = row.end
    part.bytes -= row.bytes
    part.head = row.next
    row.next = sim.free_segment
    sim.free_segment = number


@cold
def clean_log(sim: Sim) -> None:
    """Looks at all partitions and deletes what is to be kept no longer."""
    for number in range(sim.partition_count):
        part = part_at(sim, number)
        if sim.retention > 0.0:
            if part.active_bytes > 0.0 and sim.now - part.last > sim.retention:
                roll(sim, part)
            while part.head >= 0 and sim.now - segment_at(sim, part.head).last > sim.retention:
                delete_first(sim, part)
        if sim.retention_bytes > 0.0:
            while part.head >= 0 and part.bytes - segment_at(sim, part.head).bytes >= sim.retention_bytes:
                delete_first(sim, part)
    push(sim, sim.retention_check, RETAIN, NONE, NONE)


@cold
def is_gone(sim: Sim, frame: int) -> bool:
    """Tells whether a consumer that is about to read a frame finds it deleted, or goes on behind it for another one that was."""
    offset = frame_at(sim, frame).offset
    part = part_at(sim, frame_at(sim, frame).partition)
    if offset < part.start:
        part.floor = max(part.floor, part.end if sim.reset_latest else part.start)
    return offset < part.floor  # type: ignore[no-any-return]


@cold
def drops(sim: Sim, frame: int) -> bool:
    """Tells whether a frame that a consumer is about to read is gone, and accounts for it."""
    if not is_gone(sim, frame):
        return False
    row = frame_at(sim, frame)
    sim.lag_events -= row.events
    row.over = ENDED
    if row.outcome == OPEN and np.isnan(hop_at(sim, frame, sim.effect).value):
        row.outcome = LOST
    return True


@cold
def drop_deleted(sim: Sim, owner: int) -> None:
    """Takes out of the frames that a consumer's next poll would hold those that are gone."""
    replica = replica_at(sim, owner)
    frame, last, events = replica.head, -1, 0
    while frame >= 0:
        row = frame_at(sim, frame)
        after = row.next
        if last >= 0 and events + row.events > sim.max_poll_events:
            return
        if not drops(sim, frame):
            last = frame
            events += row.events
        elif last < 0:
            replica.head = after
        else:
            frame_at(sim, last).next = after
        if replica.tail == frame:
            replica.tail = last
        frame = after

"""Frames that wait for a consumer, and their lines where the log's lanes are told apart. `reference/waiting.py` is the model.

What comes is put into the consumer's one list, as it is without lanes (`polls.offer_frame`), and to its line when the consumer looks.
"""

from __future__ import annotations

from sentra_sim.engine.compiled.layout import ENDED
from sentra_sim.engine.compiled.memory import Row, Sim, cold, frame_at, hop_at, line_at, owner_at, replica_at
from sentra_sim.engine.compiled.retention import drop_deleted, drops
from sentra_sim.engine.trace import DLQ, LOST, SHED


@cold
def add_last(sim: Sim, queue: Row, frame: int) -> None:
    """Appends a frame to a list."""
    frame_at(sim, frame).next = -1
    if queue.head < 0:
        queue.head = frame
    else:
        frame_at(sim, queue.tail).next = frame
    queue.tail = frame


@cold
def add_first(sim: Sim, queue: Row, frame: int) -> None:
    """Puts a frame before all others of a list."""
    frame_at(sim, frame).next = queue.head
    if queue.head < 0:
        queue.tail = frame
    queue.head = frame


@cold
def put_back_in_line(sim: Sim, owner: int, frame: int) -> None:
    """Puts a frame before all others of its line."""
    add_first(sim, line_at(sim, owner, owner_at(sim, frame_at(sim, frame).partition).line), frame)


@cold
def sort_in(sim: Sim, owner: int) -> None:
    """Puts what has come since the last look at the ends of the lines."""
    replica = replica_at(sim, owner)
    frame = replica.head
    replica.head = -1
    while frame >= 0:
        after = frame_at(sim, frame).next
        add_last(sim, line_at(sim, owner, owner_at(sim, frame_at(sim, frame).partition).line), frame)
        frame = after


@cold
def renew_lines(sim: Sim, owner: int) -> None:
    """Forgets whose turn it was: a new process begins with the first lane."""
    for number in range(sim.line_count):
        line = line_at(sim, owner, number)
        line.turn, line.visiting, line.left = 0, 0, 0.0


@cold
def shed(sim: Sim, owner: int) -> None:
    """Drops what has waited for too long, from the first frame on; with lines, from that of each line on."""
    if not sim.line_count:
        shed_list(sim, replica_at(sim, owner))
        return
    sort_in(sim, owner)
    for number in range(sim.line_count):
        shed_list(sim, line_at(sim, owner, number))


@cold
def shed_list(sim: Sim, queue: Row) -> None:
    """Drops what has waited for too long in a list, from the first frame on."""
    while queue.head >= 0 and sim.now - hop_at(sim, queue.head, 0).value > sim.max_age:
        frame = frame_at(sim, queue.head)
        if frame.outcome not in (DLQ, LOST):
            frame.outcome = SHED
        frame.over = ENDED
        sim.lag_events -= frame.events
        queue.head = frame.next


@cold
def pick(sim: Sim, owner: int) -> None:
    """Lets the consumer's list begin with the frames of its next poll; drops on the way what the log has deleted."""
    if sim.line_count:
        sort_in(sim, owner)
        line_up(sim, owner)
    else:
        drop_deleted(sim, owner)


@cold
def line_up(sim: Sim, owner: int) -> None:
    """Fills the consumer's list, which is empty, in the order of service."""
    replica, first = replica_at(sim, owner), line_at(sim, owner, 0)
    events = 0
    while next_turn(sim, owner):
        line = line_at(sim, owner, first.turn)
        frame = line.head
        size = frame_at(sim, frame).events
        if replica.head >= 0 and events + size > sim.max_poll_events:
            return
        gone = sim.retains != 0 and drops(sim, frame)
        line.head = frame_at(sim, frame).next
        if not gone:
            add_last(sim, replica, frame)
            events += size
            line.left -= size
        if not sim.by_priority and line.head < 0:
            pass_on(sim, owner)


@cold
def next_turn(sim: Sim, owner: int) -> bool:
    """Turns to the line whose first frame is the next to be served; tells whether anything waits."""
    number = 0
    while number < sim.line_count and line_at(sim, owner, number).head < 0:
        number += 1
    if number == sim.line_count:
        return False
    if sim.by_priority:
        line_at(sim, owner, 0).turn = number
        return True
    while not visit(sim, owner):
        pass_on(sim, owner)
    return True


@cold
def visit(sim: Sim, owner: int) -> bool:
    """Begins a visit to the line whose turn it is, unless one is under way; tells whether it has enough for its first frame."""
    first = line_at(sim, owner, 0)
    line = line_at(sim, owner, first.turn)
    if line.head < 0:
        return False
    if not first.visiting:
        first.visiting = 1
        line.left += line.quantum
    return frame_at(sim, line.head).events <= line.left  # type: ignore[no-any-return]


@cold
def pass_on(sim: Sim, owner: int) -> None:
    """Ends a visit; a line in which nothing waits loses what it has left."""
    first = line_at(sim, owner, 0)
    line = line_at(sim, owner, first.turn)
    if line.head < 0:
        line.left = 0.0
    first.visiting = 0
    first.turn = (first.turn + 1) % sim.line_count

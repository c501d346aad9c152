"""Messages of all `Exchange` streams on their way in: those that arrive close together are decoded, judged and buffered as one.

Whatever NumPy does costs about the same for one event as for a hundred, so small messages are cheap only together. Messages
that cannot be taken all and whole are taken one by one, which finds the reasons: the result is the same either way.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable
from itertools import repeat
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from live_adapters.pipeline.codec import EventArray, decode_together
from live_adapters.pipeline.ingress.admission import Allowed, Marks
from live_adapters.pipeline.ingress.intake import Intake
from sentra_sim.units import NS_PER_S

MOST_WAIT_S = 0.002  # of a message that comes soon after another; the first one after a pause does not wait
MOST_BYTES = 16_384  # together; so a long message does not wait either


class Stream(Protocol):
    """What an inbox knows of a stream."""

    allowed: Allowed | None
    marks: Marks

    def take(self, message: bytes, received_ns: int) -> None:
        """Takes what may be taken of a message, and answers it."""

    def taken(self, events: int, request_id: int | None, frames: Collection[int]) -> None:
        """Notes that a message was taken whole, and which frames hold its events."""


_Read = tuple[Stream, bytes, int]  # the message, and when it was read, monotonic ns


class Inbox:
    """Holds messages for a moment, never longer than a frame may linger: the frame's clock runs from when one was read."""

    def __init__(self, intake: Intake, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._intake = intake
        self._clock = clock
        self._wait_ns = round(min(MOST_WAIT_S, intake.linger_s) * NS_PER_S)
        self._loop = asyncio.get_running_loop()
        self._waiting: list[_Read] = []
        self._bytes = 0
        self._took_ns = 0
        self._timer: asyncio.TimerHandle | None = None

    def put(self, stream: Stream, message: bytes) -> None:
        """Takes a message in; those of a stream are taken in their order."""
        now_ns = self._clock()
        self._waiting.append((stream, message, now_ns))
        self._bytes += len(message)
        if self._bytes >= MOST_BYTES or (self._timer is None and now_ns - self._took_ns >= self._wait_ns):
            self.empty()
        elif self._timer is None:
            self._timer = self._loop.call_later(self._wait_ns / NS_PER_S, self.empty)

    def empty(self) -> None:
        """Takes every message that waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        reads, self._waiting, self._bytes = self._waiting, [], 0
        self._took_ns = self._clock()
        for group in _of_one_length(reads):
            self._take(group)

    def _take(self, reads: list[_Read]) -> None:
        if self._take_together(reads):
            return
        streams: dict[Stream, list[_Read]] = {}
        for read in reads:
            streams.setdefault(read[0], []).append(read)
        if len(streams) > 1:  # so that a stream which sends what is refused costs the others little
            for own in streams.values():
                self._take(own)
            return
        for stream, message, received_ns in reads:
            stream.take(message, received_ns)

    def _take_together(self, reads: list[_Read]) -> bool:
        """Takes messages of one length if every event of each may be taken; otherwise takes nothing and returns False."""
        intake = self._intake
        if intake.state.chaos.refuse or intake.in_flight_events >= intake.admission.least_bound:
            return False
        decoded = decode_together([message for _, message, _ in reads])
        if decoded is None:
            return False
        events, ids = decoded
        together = events.reshape(-1)
        marks = self._may_take(reads, events)
        if not marks or not intake.admit_all(together):
            return False
        for (stream, session), sequence in marks.items():
            stream.marks.raise_to(session, sequence)
        each = events.shape[1]
        received_ns: NDArray[np.int64] = np.repeat(np.array([at_ns for _, _, at_ns in reads], dtype=np.int64), each)
        frames = intake.place(together, received_ns).reshape(len(reads), each).tolist()
        own_ids: Iterable[int | None] = ids or repeat(None, len(reads))
        for (stream, _, _), request_id, own in zip(reads, own_ids, frames, strict=True):
            stream.taken(each, request_id, own if each == 1 else {*own})
        return True

    def _may_take(self, reads: list[_Read], events: EventArray) -> dict[tuple[Stream, int], int]:
        """Returns the mark of each stream's sessions after these messages, none if an event of theirs may not be taken."""
        if not events.shape[1] or not self._intake.admission.takes_size(len(reads[0][1]), events.itemsize):
            return {}
        sequences, sessions = events["sequence"], events["session"]
        if events.shape[1] > 1 and not (_rising(sequences) and bool((sessions == sessions[:, :1]).all())):
            return {}
        marks: dict[tuple[Stream, int], int] = {}
        rows = zip(reads, sessions[:, 0].tolist(), sequences[:, 0].tolist(), sequences[:, -1].tolist(), strict=True)
        for (stream, _, _), session, first, last in rows:
            before = marks.get((stream, session))
            if first <= (stream.marks.highest(session) if before is None else before):
                return {}
            marks[stream, session] = last
        return marks if self._all_allowed(reads, events) else {}

    def _all_allowed(self, reads: list[_Read], events: EventArray) -> bool:
        if all(stream.allowed is None for stream, _, _ in reads):
            return True
        tenants = events["tenant"]
        if tenants.max() >= self._intake.admission.tenants:
            return False
        return all(
            stream.allowed is None or bool(stream.allowed[row].all())
            for (stream, _, _), row in zip(reads, tenants, strict=True)
        )


def _rising(sequences: NDArray[np.uint64]) -> bool:
    return bool((sequences[:, 1:] > sequences[:, :-1]).all())


def _of_one_length(reads: list[_Read]) -> list[list[_Read]]:
    """Returns groups of messages of one length, each stream's messages in their order."""
    groups: dict[int, list[_Read]] = {}
    for read in reads:
        groups.setdefault(len(read[1]), []).append(read)
    if len(groups) <= 1:
        return list(groups.values())
    lengths = {(read[0], len(read[1])) for read in reads}
    if len(lengths) == len({stream for stream, _ in lengths}):
        return list(groups.values())
    runs: list[list[_Read]] = []  # a stream has sent several lengths: only neighbours may go together
    for read in reads:
        if runs and len(runs[-1][0][1]) == len(read[1]):
            runs[-1].append(read)
        else:
            runs.append([read])
    return runs

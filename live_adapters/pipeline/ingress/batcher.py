"""The gateway's batcher: events sorted by partition into frames, which close by size or by linger."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from live_adapters.pipeline.codec import EventArray, event_dtype
from sentra_sim.scenario.keys import partition_of

_SEQUENCE_BITS = 40

# Events as opaque bytes: NumPy copies structured elements field by field, some ten to fifty times slower.
Blocks = NDArray[np.void]


@dataclass(frozen=True)
class Frame:
    """A closed frame: events of one partition, stamped with the frame's id. Times are monotonic ns."""

    frame: int
    partition: int
    events: EventArray
    received_ns: int
    closed_ns: int


def frame_id(partition: int, sequence: int) -> int:
    """Returns the id of a partition's `sequence`-th frame, from 1; ids of a partition rise with time.

    >>> frame_id(1, 1)
    1099511627777
    """
    return partition << _SEQUENCE_BITS | sequence


def partition_of_frame(frame: int) -> int:
    """Returns the partition of a frame's id.

    >>> partition_of_frame(frame_id(5, 7))
    5
    """
    return frame >> _SEQUENCE_BITS


@dataclass
class _Open:
    """The frame that a partition is filling."""

    received_ns: int = 0
    count: int = 0
    parts: list[Blocks] = field(default_factory=list)


class Batcher:
    """Splits messages by partition and closes a partition's frame at `max_events`, or `linger_ns` after its first event.

    Events keep their order within a partition. A frame holds events of one length only.
    """

    def __init__(self, partitions: int, max_events: int, linger_ns: int) -> None:
        self._partitions = partitions
        self._max_events = max_events
        self._linger_ns = linger_ns
        self._open = [_Open() for _ in range(partitions)]
        self._closed = [0] * partitions
        self._full: list[Frame] = []  # closed by the events that are being placed
        self._edges = np.arange(partitions + 1, dtype=np.int16)

    def add(self, events: EventArray, now_ns: int) -> list[Frame]:
        """Takes the events of a message; returns the frames that are full with them."""
        return self.place(events, np.full(len(events), now_ns), now_ns)[0]

    def place(
        self, events: EventArray, received_ns: NDArray[np.int64], now_ns: int
    ) -> tuple[list[Frame], NDArray[np.int64]]:
        """Takes events, each with the time when it was received.

        Returns:
            The frames that are full with them, and the id of the frame that holds each event, shape (events,).
        """
        partition = partition_of(events["key"], self._partitions)
        order = np.argsort(partition, kind="stable")
        blocks = events.view(f"V{events.itemsize}")[order]
        received_ns = received_ns[order]
        bounds = np.searchsorted(partition[order], self._edges).tolist()
        sorted_frames = np.empty(len(events), dtype=np.int64)
        for number in range(self._partitions):
            first, end = bounds[number], bounds[number + 1]
            while first < end:
                frame, taken = self._fill(number, blocks[first:end], int(received_ns[first]), now_ns)
                sorted_frames[first : first + taken] = frame
                first += taken
        frames = np.empty_like(sorted_frames)
        frames[order] = sorted_frames
        full, self._full = self._full, []
        return full, frames

    def due(self, now_ns: int) -> list[Frame]:
        """Closes and returns the frames whose linger is over."""
        return [
            self._close(p, now_ns) for p in self._filling() if self._open[p].received_ns + self._linger_ns <= now_ns
        ]

    def close_all(self, now_ns: int) -> list[Frame]:
        """Closes and returns every frame that holds an event."""
        return [self._close(partition, now_ns) for partition in self._filling()]

    def deadline_ns(self) -> int | None:
        """Returns when the next linger is over, or None without an open frame."""
        return min((self._open[p].received_ns + self._linger_ns for p in self._filling()), default=None)

    @property
    def open_events(self) -> int:
        """Events in frames that are not closed yet."""
        return sum(filling.count for filling in self._open)

    def closed_frames(self) -> list[int]:
        """Returns the id of the last closed frame of each partition."""
        return [frame_id(partition, closed) for partition, closed in enumerate(self._closed)]

    def _filling(self) -> list[int]:
        return [partition for partition in range(self._partitions) if self._open[partition].count]

    def _fill(self, partition: int, blocks: Blocks, received_ns: int, now_ns: int) -> tuple[int, int]:
        """Puts as many events into a partition's frame as it has room for; returns its id and how many."""
        if self._open[partition].count and self._open[partition].parts[0].itemsize != blocks.itemsize:
            self._full.append(self._close(partition, now_ns))
        filling = self._open[partition]
        if not filling.count:
            filling.received_ns = received_ns
        part = blocks[: self._max_events - filling.count]
        filling.parts.append(part)
        filling.count += len(part)
        number = frame_id(partition, self._closed[partition] + 1)
        if filling.count == self._max_events:
            self._full.append(self._close(partition, now_ns))
        return number, len(part)

    def _close(self, partition: int, now_ns: int) -> Frame:
        filling, self._open[partition] = self._open[partition], _Open()
        self._closed[partition] += 1
        number = frame_id(partition, self._closed[partition])
        blocks = np.concatenate(filling.parts)
        events = blocks.view(event_dtype(blocks.itemsize))
        events["frame"] = number
        return Frame(number, partition, events, filling.received_ns, now_ns)

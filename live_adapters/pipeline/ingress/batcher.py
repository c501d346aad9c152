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
        self._edges = np.arange(partitions + 1, dtype=np.int16)

    def add(self, events: EventArray, now_ns: int) -> list[Frame]:
        """Takes the events of a message; returns the frames that are full with them."""
        partition = partition_of(events["key"], self._partitions)
        order = np.argsort(partition, kind="stable")
        blocks = events.view(f"V{events.itemsize}")[order]
        bounds = np.searchsorted(partition[order], self._edges).tolist()
        full: list[Frame] = []
        for number in range(self._partitions):
            if bounds[number] < bounds[number + 1]:
                self._fill(number, blocks[bounds[number] : bounds[number + 1]], now_ns, full)
        return full

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

    def closed_frames(self) -> dict[int, int]:
        """Returns the id of the last closed frame of each partition."""
        return {partition: frame_id(partition, closed) for partition, closed in enumerate(self._closed)}

    def last_frames(self, events: EventArray) -> dict[int, int]:
        """Returns, by partition, the last frame that holds any of these events, which were added last."""
        touched = np.unique(partition_of(events["key"], self._partitions)).tolist()
        return {p: frame_id(p, self._closed[p] + (1 if self._open[p].count else 0)) for p in touched}

    def _filling(self) -> list[int]:
        return [partition for partition in range(self._partitions) if self._open[partition].count]

    def _fill(self, partition: int, blocks: Blocks, now_ns: int, full: list[Frame]) -> None:
        while len(blocks):
            filling = self._open[partition]
            if filling.count and filling.parts[0].itemsize != blocks.itemsize:
                full.append(self._close(partition, now_ns))
                continue
            if not filling.count:
                filling.received_ns = now_ns
            part = blocks[: self._max_events - filling.count]
            filling.parts.append(part)
            filling.count += len(part)
            blocks = blocks[len(part) :]
            if filling.count == self._max_events:
                full.append(self._close(partition, now_ns))

    def _close(self, partition: int, now_ns: int) -> Frame:
        filling, self._open[partition] = self._open[partition], _Open()
        self._closed[partition] += 1
        number = frame_id(partition, self._closed[partition])
        blocks = np.concatenate(filling.parts)
        events = blocks.view(event_dtype(blocks.itemsize))
        events["frame"] = number
        return Frame(number, partition, events, filling.received_ns, now_ns)

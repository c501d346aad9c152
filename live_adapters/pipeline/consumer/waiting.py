"""Batches that were fetched and wait for their poll: in order, and so many that the next poll is full. No I/O."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import Collection, Iterable

from live_adapters.pipeline.consumer.poll import Batch


class Waiting:
    """What one task puts in and another takes out; `most_events` fill it, and the last batch may go beyond."""

    def __init__(self, most_events: int) -> None:
        self._most_events = most_events
        self._batches: deque[Batch] = deque()
        self._events: Counter[int] = Counter()  # by partition
        self._came, self._room = asyncio.Event(), asyncio.Event()
        self._room.set()

    @property
    def events(self) -> int:
        """How many events wait."""
        return self._events.total()

    def of(self, partition: int) -> int:
        """Returns how many of them are a partition's."""
        return self._events[partition]

    def put(self, batches: Iterable[Batch]) -> None:
        """Adds batches, behind those that are there."""
        for batch in batches:
            self._batches.append(batch)
            self._events[batch.partition] += batch.count
        self._changed()
        self._came.set()

    def take(self, most_events: int) -> list[Batch]:
        """Takes whole batches, the first one in any case, then as many as fit."""
        taken: list[Batch] = []
        left = most_events
        while self._batches and (not taken or self._batches[0].count <= left):
            taken.append(batch := self._batches.popleft())
            self._events[batch.partition] -= batch.count
            left -= batch.count
        self._changed()
        return taken

    def drop(self, partitions: Collection[int]) -> None:
        """Forgets what there is of some partitions."""
        self._batches = deque(batch for batch in self._batches if batch.partition not in partitions)
        for partition in partitions:
            self._events.pop(partition, None)
        self._changed()

    async def come(self, events: int, wait_s: float) -> bool:
        """Waits until so many events are there, but no longer than `wait_s`; tells whether they are."""
        until_s = time.monotonic() + wait_s
        while self.events < events and (left_s := until_s - time.monotonic()) > 0.0:
            self._came.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._came.wait(), left_s)
        return self.events >= events

    async def room(self) -> int:
        """Waits until there is room, and returns for how many events."""
        await self._room.wait()
        return self._most_events - self.events

    def _changed(self) -> None:
        if self.events < self._most_events:
            self._room.set()
        else:
            self._room.clear()

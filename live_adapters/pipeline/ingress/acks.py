"""Which frames Kafka has: a message is acknowledged once it has every frame that holds an event of it."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Iterable
from itertools import count

from live_adapters.pipeline.ingress.batcher import frame_id, partition_of_frame


class _Waiting:
    """Someone who waits, and of how many partitions frames are missing."""

    __slots__ = ("done", "left")

    def __init__(self, left: int) -> None:
        self.left = left
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class AckBook:
    """The last frame of each partition that Kafka has, and who waits for a later one.

    Frames of a partition are acknowledged in order. Asking costs a comparison; only who has to wait costs a future, so a
    stream waits for its oldest message alone.
    """

    def __init__(self, partitions: int) -> None:
        self._queues: list[list[tuple[int, int, _Waiting]]] = [[] for _ in range(partitions)]  # heaps, by frame
        self._acked = [frame_id(partition, 0) for partition in range(partitions)]
        self._tickets = count()  # breaks ties in a heap

    def missing(self, frames: Iterable[int]) -> list[int]:
        """Returns those of the frames that Kafka does not have yet."""
        acked = self._acked
        return [frame for frame in frames if frame > acked[partition_of_frame(frame)]]

    def expect(self, frames: Iterable[int]) -> asyncio.Future[None]:
        """Returns a future that is done when these frames are acknowledged."""
        missing = self.missing(frames)
        waiting = _Waiting(len(missing))
        for frame in missing:
            heapq.heappush(self._queues[partition_of_frame(frame)], (frame, next(self._tickets), waiting))
        if not missing:
            waiting.done.set_result(None)
        return waiting.done

    def acked(self, partition: int, frame: int) -> None:
        """Takes note that a partition has all frames up to this one."""
        self._acked[partition] = frame
        queue = self._queues[partition]
        while queue and queue[0][0] <= frame:
            *_, waiting = heapq.heappop(queue)
            waiting.left -= 1
            if not waiting.left and not waiting.done.done():  # done already: its stream was cancelled
                waiting.done.set_result(None)

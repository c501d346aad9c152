"""Which messages wait for which frames: a message is acknowledged once Kafka has every frame that holds an event of it."""

from __future__ import annotations

import asyncio
from collections import deque

from live_adapters.pipeline.ingress.batcher import frame_id


class _Waiting:
    """A message, and of how many partitions frames are missing."""

    __slots__ = ("done", "left")

    def __init__(self, left: int) -> None:
        self.left = left
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class AckBook:
    """One queue a partition, of the frames that messages wait for. Frames of a partition are acknowledged in order."""

    def __init__(self, partitions: int) -> None:
        self._queues: list[deque[tuple[int, _Waiting]]] = [deque() for _ in range(partitions)]
        self._acked = [frame_id(partition, 0) for partition in range(partitions)]

    def expect(self, last_frames: dict[int, int]) -> asyncio.Future[None]:
        """Returns a future that is done when these frames are acknowledged.

        Args:
            last_frames: By partition, the last frame to wait for; never an earlier one than was named before.
        """
        missing = {p: frame for p, frame in last_frames.items() if frame > self._acked[p]}
        waiting = _Waiting(len(missing))
        for partition, frame in missing.items():
            self._queues[partition].append((frame, waiting))
        if not missing:
            waiting.done.set_result(None)
        return waiting.done

    def acked(self, partition: int, frame: int) -> None:
        """Takes note that a partition has all frames up to this one."""
        self._acked[partition] = frame
        queue = self._queues[partition]
        while queue and queue[0][0] <= frame:
            _, waiting = queue.popleft()
            waiting.left -= 1
            if not waiting.left and not waiting.done.done():  # done already: its stream was cancelled
                waiting.done.set_result(None)

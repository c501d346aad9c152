"""Frames to Kafka: a record batch each, in order within a partition, each told to the hop log when all in-sync replicas have it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from aiokafka import AIOKafkaProducer

from live_adapters.pipeline.ingress.batcher import Frame
from live_adapters.pipeline.ingress.recordbatch import FrameBatch

REQUEST_TIMEOUT_S = 15.0
RETRY_BACKOFF_S = 0.05
MAX_BATCH_BYTES = 1 << 20  # of the brokers; aiokafka's own limit does not bind batches built by hand


def make_producer(bootstrap: str, **others: Any) -> Any:
    """Returns an idempotent producer with acks of all in-sync replicas; frames are batches already, so no linger.

    `others` are settings that a run with a planted fault has instead.
    """
    settings: dict[str, Any] = {
        "bootstrap_servers": bootstrap,
        "client_id": "sentra-gateway",
        "acks": "all",
        "enable_idempotence": True,
        "linger_ms": 0,
        "max_batch_size": MAX_BATCH_BYTES,
        "request_timeout_ms": int(REQUEST_TIMEOUT_S * 1e3),
        "retry_backoff_ms": int(RETRY_BACKOFF_S * 1e3),
    }
    return AIOKafkaProducer(**(settings | others))


class FrameSender:
    """Sends frames through one queue a partition and keeps count of what is not acknowledged.

    The worker refuses an event whose sequence is not above its partition's high-water mark, so frames of a partition must
    never overtake each other: one task a partition hands them to the producer, one after another. `acked` is told of each that
    is acknowledged, with the time when it was sent, monotonic ns.
    """

    def __init__(self, producer: Any, topic: str, partitions: int, acked: Callable[[Frame, int], None]) -> None:
        self.unacked_events = 0
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._producer = producer
        self._topic = topic
        self._acked = acked
        self._queues: list[asyncio.Queue[Frame]] = [asyncio.Queue() for _ in range(partitions)]
        self._tasks = [asyncio.create_task(self._send(number)) for number in range(partitions)]
        self._fewer = asyncio.Event()

    def put(self, frames: list[Frame]) -> None:
        """Queues closed frames."""
        for frame in frames:
            self.unacked_events += len(frame.events)
            self._queues[frame.partition].put_nowait(frame)

    async def until_below(self, events: int) -> None:
        """Waits until fewer than `events` events are unacknowledged.

        Raises:
            KafkaError: a frame could not be sent.
        """
        while self.unacked_events >= events:
            if self.failure.done():
                self.failure.result()
            self._fewer.clear()
            await self._fewer.wait()

    async def close(self) -> None:
        """Ends the tasks; frames that are still queued are not sent."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _send(self, partition: int) -> None:
        queue = self._queues[partition]
        try:
            while True:
                frame = await queue.get()
                batch = FrameBatch(np.asarray(frame.events))
                delivery = await self._producer.send_batch(batch, self._topic, partition=partition)
                delivery.add_done_callback(partial(self._delivered, frame, batch))
        except Exception as error:
            self._fail(error)

    def _delivered(self, frame: Frame, batch: FrameBatch, delivery: asyncio.Future[Any]) -> None:
        if delivery.cancelled():
            return
        if error := delivery.exception():
            self._fail(error)
            return
        self.unacked_events -= len(frame.events)
        self._fewer.set()
        self._acked(frame, batch.sent_ns)

    def _fail(self, error: BaseException) -> None:
        if not self.failure.done():
            self.failure.set_exception(error)
        self._fewer.set()

"""The method `Exchange`: a stream of messages, and an acknowledgement for each once Kafka has its events."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import grpc
import numpy as np

from live_adapters.pipeline import events_pb2
from live_adapters.pipeline.codec import EventArray
from live_adapters.pipeline.ingress.admission import Allowed, Codes, Marks
from live_adapters.pipeline.ingress.intake import Intake
from live_adapters.pipeline.ingress.reasons import REASONS, TEMPORARY, MessageRefused
from sentra_sim.units import MS_PER_S

RETRY_AFTER_KEY = "retry-after-ms"  # of the trailing metadata
MAX_UNANSWERED = 1_024  # messages; beyond it a stream is not read, so a client must read its answers
_INVALID, _EXHAUSTED, _UNAVAILABLE = 3, 8, 14  # google.rpc.Code

_Answer = tuple[events_pb2.IngestAck, asyncio.Future[None] | None]


def retry_after(seconds: float) -> tuple[tuple[str, str], ...]:
    """Returns the trailing metadata that tells a client how long to wait."""
    return ((RETRY_AFTER_KEY, str(_milliseconds(seconds))),)


class Exchange:
    """One call: a task reads and takes messages, the call itself answers them in order."""

    def __init__(self, intake: Intake, context: Any, allowed: Allowed | None) -> None:
        self._intake = intake
        self._context = context
        self._allowed = allowed
        self._marks = Marks()
        self._answers: asyncio.Queue[_Answer | None] = asyncio.Queue()
        self._room = asyncio.Semaphore(MAX_UNANSWERED)
        self._messages = 0
        self._in_vain = 0  # messages in a row of which nothing was taken for lack of room
        self._cut = False
        self._reader: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Serves the call; everything that was taken is acknowledged before it ends, whatever ends it."""
        self._reader = asyncio.create_task(self._read())
        try:
            while (answer := await self._answers.get()) is not None:
                ack, delivered = answer
                if delivered is not None:
                    await delivered
                await self._context.write(ack)
                self._room.release()
        finally:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        if self._cut:
            await self._close(_UNAVAILABLE, "gateway: drains, and takes no more messages; connect again")
        elif self._in_vain >= self._intake.rules.patience:
            await self._close(
                _EXHAUSTED, f"gateway: nothing was taken of {self._in_vain} messages in a row; wait as the answers say"
            )

    async def _close(self, code: int, detail: str) -> None:
        """Tells the client why the stream ends, as its last answer and under status OK.

        A client's gRPC may drop answers that it has received and not yet handed out when a status other than OK follows,
        and an acknowledgement must not be lost.
        """
        wait_s = self._intake.rules.retry_after_s
        last = events_pb2.IngestAck(message=0, code=code, detail=detail, retry_after_ms=_milliseconds(wait_s))
        self._context.set_trailing_metadata(retry_after(wait_s))
        await self._context.write(last)

    def cut(self) -> None:
        """Takes no more messages; those taken are still acknowledged."""
        self._cut = True
        if self._reader is not None:
            self._reader.cancel()

    async def _read(self) -> None:
        try:
            while self._in_vain < self._intake.rules.patience:
                await self._room.acquire()
                message = await self._context.read()
                if message is grpc.aio.EOF:
                    break
                await self._intake.delay()
                self._messages += 1
                self._answers.put_nowait(self._take(message))
        finally:
            self._answers.put_nowait(None)

    def _take(self, message: bytes) -> _Answer:
        """Takes what may be taken of a message; returns its answer, and what to wait for before it is given."""
        ack = events_pb2.IngestAck(message=self._messages)
        try:
            events, request_id = self._intake.read(message)
        except MessageRefused as refused:
            return self._refuse(ack, refused), None
        if request_id is not None:
            ack.request_id = request_id
        accepted, codes = self._intake.sift(events, self._allowed, self._marks, self._intake.in_flight_events)
        if codes is not None:
            self._explain(ack, events, codes)
        self._in_vain = self._in_vain + 1 if ack.code == _EXHAUSTED and not len(accepted) else 0
        if not len(accepted):
            return ack, None
        self._marks.accept(accepted)
        ack.acked_events = len(accepted)
        return ack, self._intake.buffer_awaited(accepted)

    def _refuse(self, ack: events_pb2.IngestAck, refused: MessageRefused) -> events_pb2.IngestAck:
        if refused.request_id is not None:
            ack.request_id = refused.request_id
        counts = self._intake.state.refuse_message(refused)
        ack.refused_events = refused.events
        ack.refused_by_reason.update(counts or {refused.reason.value: 0})
        ack.detail = str(refused)
        ack.code = _EXHAUSTED if refused.reason in TEMPORARY else _INVALID
        if ack.code == _EXHAUSTED:
            ack.retry_after_ms = _milliseconds(self._intake.rules.retry_after_s)
        return ack

    def _explain(self, ack: events_pb2.IngestAck, events: EventArray, codes: Codes) -> None:
        positions = np.flatnonzero(codes)
        ack.refused_events = len(positions)
        ack.refused_by_reason.update(self._intake.state.refuse_events(events, codes))
        ack.refused_positions.extend(positions.tolist())
        temporary = any(REASONS[code - 1] in TEMPORARY for code in np.unique(codes[positions]).tolist())
        ack.code = _EXHAUSTED if temporary else _INVALID
        if temporary:
            ack.retry_after_ms = _milliseconds(self._intake.admission.retry_after_s(events, codes))


def _milliseconds(seconds: float) -> int:
    return max(1, math.ceil(seconds * MS_PER_S))

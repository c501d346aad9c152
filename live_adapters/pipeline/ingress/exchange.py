"""The method `Exchange`: a stream of messages, and an acknowledgement for each once Kafka has its events."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Collection
from typing import Any

import grpc
import numpy as np

from live_adapters.pipeline import events_pb2
from live_adapters.pipeline.codec import EventArray
from live_adapters.pipeline.ingress.admission import Allowed, Codes, Marks
from live_adapters.pipeline.ingress.inbox import Inbox
from live_adapters.pipeline.ingress.intake import Intake
from live_adapters.pipeline.ingress.reasons import REASONS, TEMPORARY, MessageRefused
from sentra_sim.units import MS_PER_S

RETRY_AFTER_KEY = "retry-after-ms"  # of the trailing metadata
WITHIN_KEY = "sentra-answers-within-ms"  # metadata of a client that takes several answers at once
MOST_WITHIN_MS = 1_000
MAX_UNANSWERED = 1_024  # messages; beyond it a stream is not read, so a client must read its answers
_MOST_MS = (1 << 32) - 1  # that the answer's field holds
_INVALID, _EXHAUSTED, _UNAVAILABLE = 3, 8, 14  # google.rpc.Code

_Answer = tuple[events_pb2.IngestAck, Collection[int]]  # and the frames that hold the events it acknowledges


def retry_after(seconds: float) -> tuple[tuple[str, str], ...]:
    """Returns the trailing metadata that tells a client how long to wait."""
    return ((RETRY_AFTER_KEY, str(_milliseconds(seconds))),)


def read_within(shown: str) -> float | None:
    """Reads how long a client lets answers be held back, in seconds; None when it wants each on its own.

    Raises:
        ValueError: it is no number of milliseconds, or too many.
    """
    if not shown:
        return None
    if not (shown.isascii() and shown.isdecimal() and int(shown) <= MOST_WITHIN_MS):
        raise ValueError(
            f"{WITHIN_KEY}: must be a whole number from 0 to {MOST_WITHIN_MS}, got {shown[:20]!r}; leave it out for an answer each"
        )
    return int(shown) / MS_PER_S


class Exchange:
    """One call: a task reads messages into the inbox, the call itself answers them in order."""

    def __init__(
        self, inbox: Inbox, intake: Intake, context: Any, allowed: Allowed | None, within_s: float | None = None
    ) -> None:
        self.allowed = allowed
        self.marks = Marks()
        self._inbox = inbox
        self._intake = intake
        self._context = context
        self._within_s = within_s
        self._answers: deque[_Answer] = deque()
        self._more = asyncio.Event()  # answers, or the end of the messages
        self._fewer = asyncio.Event()  # unanswered messages
        self._unanswered = 0  # messages read
        self._messages = 0  # taken
        self._in_vain = 0  # messages in a row of which nothing was taken for lack of room
        self._gave_up = 0  # the same, when it was too many
        self._cut = self._read_all = False
        self._reader: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Serves the call; everything that was taken is acknowledged before it ends, whatever ends it."""
        self._reader = asyncio.create_task(self._read())
        try:
            while await self._next_is_ready():
                await self._answer()
        finally:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        if self._cut:
            await self._close(_UNAVAILABLE, "gateway: drains, and takes no more messages; connect again")
        elif self._gave_up:
            await self._close(
                _EXHAUSTED, f"gateway: nothing was taken of {self._gave_up} messages in a row; wait as the answers say"
            )

    def cut(self) -> None:
        """Takes no more messages; those taken are still acknowledged."""
        self._cut = True
        if self._reader is not None:
            self._reader.cancel()

    def take(self, message: bytes, received_ns: int) -> None:
        """Takes what may be taken of a message, and answers it."""
        self._messages += 1
        ack = events_pb2.IngestAck(message=self._messages)
        self._queue(ack, self._judge(ack, message, received_ns))
        if self._in_vain >= self._intake.rules.patience and not self._gave_up:
            self._gave_up = self._in_vain
            if self._reader is not None:
                self._reader.cancel()

    def taken(self, events: int, request_id: int | None, frames: Collection[int]) -> None:
        """Answers a message that was taken whole, once Kafka has the frames of its events."""
        self._messages += 1
        self._in_vain = 0
        self._queue(events_pb2.IngestAck(message=self._messages, acked_events=events, request_id=request_id), frames)

    def _queue(self, ack: events_pb2.IngestAck, frames: Collection[int]) -> None:
        self._answers.append((ack, frames))
        self._more.set()

    async def _next_is_ready(self) -> bool:
        """Waits until the oldest unanswered message may be answered; returns False when all are."""
        while not self._answers:
            if self._read_all:
                return False
            self._more.clear()
            await self._more.wait()
        if frames := self._intake.acks.missing(self._answers[0][1]):
            await self._intake.acks.expect(frames)
        return True

    async def _answer(self) -> None:
        """Answers the oldest message, and with it, for a client that takes several answers at once, those that are ready."""
        if self._within_s:
            await asyncio.sleep(self._within_s)
        first, _ = self._answers.popleft()
        if self._within_s is not None:
            missing = self._intake.acks.missing
            while self._answers and not missing(self._answers[0][1]):
                first.more.append(self._answers.popleft()[0])
        await self._context.write(first)
        self._unanswered -= 1 + len(first.more)
        self._fewer.set()

    async def _close(self, code: int, detail: str) -> None:
        """Tells the client why the stream ends, as its last answer and under status OK.

        A client's gRPC may drop answers that it has received and not yet handed out when a status other than OK follows,
        and an acknowledgement must not be lost.
        """
        wait_s = self._intake.rules.retry_after_s
        last = events_pb2.IngestAck(message=0, code=code, detail=detail, retry_after_ms=_milliseconds(wait_s))
        self._context.set_trailing_metadata(retry_after(wait_s))
        await self._context.write(last)

    async def _read(self) -> None:
        read, put, chaos = self._context.read, self._inbox.put, self._intake.state
        try:
            while not self._gave_up:
                while self._unanswered >= MAX_UNANSWERED:
                    self._fewer.clear()
                    await self._fewer.wait()
                message = await read()
                if message is grpc.aio.EOF:
                    break
                if chaos.chaos.delay_s:
                    await self._intake.delay()
                self._unanswered += 1
                put(self, message)
        finally:
            self._inbox.empty()
            self._read_all = True
            self._more.set()

    def _judge(self, ack: events_pb2.IngestAck, message: bytes, received_ns: int) -> Collection[int]:
        """Takes what may be taken of a message and completes its answer; returns the frames that hold its events."""
        try:
            events, request_id = self._intake.read(message)
        except MessageRefused as refused:
            self._refuse(ack, refused)
            return ()
        if request_id is not None:
            ack.request_id = request_id
        accepted, codes = self._intake.sift(events, self.allowed, self.marks, self._intake.in_flight_events)
        if codes is not None:
            self._explain(ack, events, codes)
        self._in_vain = self._in_vain + 1 if ack.code == _EXHAUSTED and not len(accepted) else 0
        if not len(accepted):
            return ()
        self.marks.accept(accepted)
        ack.acked_events = len(accepted)
        return set(self._intake.place(accepted, np.full(len(accepted), received_ns)).tolist())

    def _refuse(self, ack: events_pb2.IngestAck, refused: MessageRefused) -> None:
        if refused.request_id is not None:
            ack.request_id = refused.request_id
        counts = self._intake.state.refuse_message(refused)
        ack.refused_events = refused.events
        ack.refused_by_reason.update(counts or {refused.reason.value: 0})
        ack.detail = str(refused)
        ack.code = _EXHAUSTED if refused.reason in TEMPORARY else _INVALID
        if ack.code == _EXHAUSTED:
            ack.retry_after_ms = _milliseconds(self._intake.rules.retry_after_s)

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
    return min(max(1, math.ceil(seconds * MS_PER_S)), _MOST_MS)

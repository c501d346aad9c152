"""A load generator that outlives the gateway: open loop as `load`, but through `Exchange`, keeping every message until its answer.

A process of its own, `python -m live_adapters.resend --config FILE`. After a break it connects again and sends again from the
first unanswered message, in order and under the same session and sequences, so that the worker knows a repetition. Due times
stay as they were fixed beforehand; what a break holds up is late and counted so.

Signals make a bad client of it, within what the protocol allows:
- SIGUSR1: it forgets its last answers, connects again and sends those messages a second time.
- SIGUSR2: it sends its last answered messages again in a wrong order, each on a stream of its own.
"""

from __future__ import annotations

import logging
import random
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np

from live_adapters.load import (
    NAME,
    START_AFTER_S,
    LoadSummary,
    MessageSource,
    Pacer,
    run_generator,
    stopping,
    summarise,
    token,
)
from live_adapters.pipeline import events_pb2
from live_adapters.pipeline.config import RunConfig
from live_adapters.pipeline.hoplog import ACKS, GENERATOR_ACKS, GENERATOR_MESSAGES, HopLog
from live_adapters.pipeline.process import parent_id, write_ready
from sentra_sim.errors import PlantError
from sentra_sim.rng import stream as random_stream
from sentra_sim.units import NS_PER_S

ACKED, REFUSED, UNKNOWN = 1, 2, 3
REMEMBERED = 200  # answered messages that are kept for repetitions
MISORDERED = 20
GIVE_UP_S = 45.0  # without any answer for so long after the load, what is left is unknown
CONNECT_S = 1.0
PAUSE_S = 0.1
WATCH_S = 0.1
# gRPC's own pause between attempts grows to two minutes, and is shared by all channels to an address.
OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.initial_reconnect_backoff_ms", 100))

log = logging.getLogger(NAME)


@dataclass(frozen=True)
class _Kept:
    """A message without an answer yet."""

    data: bytes
    first_sequence: int
    last_sequence: int


class AckBook:
    """Which messages have no answer yet, with their bytes, in order; and what the answers said."""

    def __init__(self, hop_log: HopLog) -> None:
        self.acked_events = self.refused_events = 0
        self._log = hop_log
        self._kept: dict[int, _Kept] = {}
        self._last_sequence = 0
        self._answered: deque[tuple[int, bytes]] = deque(maxlen=REMEMBERED)

    @property
    def unanswered(self) -> list[tuple[int, bytes]]:
        """Messages without an answer, in order."""
        return [(message, kept.data) for message, kept in self._kept.items()]

    @property
    def answered(self) -> list[tuple[int, bytes]]:
        """The last messages that were acknowledged, in order."""
        return list(self._answered)

    def keep(self, message: int, data: bytes, last_sequence: int) -> None:
        """Takes a message that is about to be sent for the first time, the next one after the one before."""
        self._kept[message] = _Kept(data, self._last_sequence + 1, last_sequence)
        self._last_sequence = last_sequence

    def answer(self, message: int, ack: events_pb2.IngestAck, now_ns: int) -> None:
        """Takes an answer; only the first one of a message counts, later ones are of repetitions."""
        kept = self._kept.pop(message, None)
        if kept is None:
            return
        self.acked_events += ack.acked_events
        self.refused_events += ack.refused_events
        if not ack.refused_events:
            self._answered.append((message, kept.data))
        self._tell(message, kept, now_ns, REFUSED if ack.refused_events else ACKED)

    def give_up(self, now_ns: int) -> None:
        """Notes that nobody knows what became of the rest."""
        for message, kept in self._kept.items():
            self._tell(message, kept, now_ns, UNKNOWN)

    def _tell(self, message: int, kept: _Kept, at_ns: int, state: int) -> None:
        row = (message, kept.first_sequence, kept.last_sequence, at_ns, state)
        self._log.append(np.array([row], dtype=ACKS))


@dataclass
class _Stream:
    """One `Exchange` call: which messages it has sent, in order, for the answers name their places."""

    again: list[tuple[int, bytes]]
    numbers: list[int] = field(default_factory=list)
    closed: bool = False


class Resender:
    """Sends a load's messages, over as many streams as it takes, until each has its answer."""

    def __init__(self, config: RunConfig, pacer: Pacer, book: AckBook, stop: threading.Event) -> None:
        self.book = book
        self.streams = 0
        self.repeated = threading.Event()  # asked for by SIGUSR1
        self.misordered = threading.Event()  # asked for by SIGUSR2
        self._config = config
        self._pacer = pacer
        self._fresh = pacer.messages()
        self._stop = stop
        self._taking = threading.Lock()  # who holds it is the only one to take a fresh message
        self._sent_all = False
        self._call: Any = None
        self._gave_up = self._forgets = False
        self._answer_at = time.monotonic()
        self._rng = random.Random(int(random_stream(config.seed, NAME, "misorder").integers(1 << 32)))

    def run(self) -> None:
        """Returns when everything sent is answered, or nothing answers any more (`GIVE_UP_S`)."""
        threading.Thread(target=self._watch, daemon=True).start()
        while not self._done():
            try:
                self._exchange()
            except (grpc.RpcError, grpc.FutureTimeoutError) as error:
                what = error.details() if isinstance(error, grpc.Call) else "no connection"
                log.warning("stream %d broke: %s; connects again", self.streams, what)
            if not self._done():
                time.sleep(PAUSE_S)
        self._pacer.write_log()
        self.book.give_up(time.monotonic_ns())

    def _done(self) -> bool:
        return self._gave_up or (self._sent_all and not self.book.unanswered)

    def _exchange(self) -> None:
        with grpc.insecure_channel(f"{self._config.host}:{self._config.gateway_port}", OPTIONS) as channel:
            grpc.channel_ready_future(channel).result(timeout=CONNECT_S)
            with self._taking:
                forgotten = self.book.answered if self._forgets else []
                self._forgets = False
                stream = _Stream(forgotten + self.book.unanswered)
            self.streams += 1
            self._call = _method(channel)(self._feed(stream), metadata=token(self._config))
            try:
                for ack in self._call:
                    self._answer_at = time.monotonic()
                    if ack.message:
                        self.book.answer(stream.numbers[ack.message - 1], ack, time.monotonic_ns())
            finally:
                stream.closed = True
                self._call.cancel()

    def _feed(self, stream: _Stream) -> Iterator[bytes]:
        """Yields what has to be sent again, then fresh messages; gRPC calls it in a thread of its own."""
        for number, message in stream.again:
            stream.numbers.append(number)
            yield message
        while True:
            with self._taking:
                fresh = None if stream.closed else next(self._fresh, None)
                if fresh is None:
                    self._sent_all = self._sent_all or not stream.closed
                    return
                number = self._pacer.sent - 1
                self.book.keep(number, fresh, self._pacer.last_sequence)
                stream.numbers.append(number)
            yield fresh

    def _watch(self) -> None:
        while not self._done():
            time.sleep(WATCH_S)
            ending = self._sent_all or self._stop.is_set()
            if ending and time.monotonic() - self._answer_at > GIVE_UP_S:
                log.error("no answer for %.0f s after the load: gives up", GIVE_UP_S)
                self._gave_up = True
                self._cancel()
            if self.repeated.is_set():
                self.repeated.clear()
                self._forgets = True
                self._cancel()
            if self.misordered.is_set():
                self.misordered.clear()
                self._send_misordered()

    def _cancel(self) -> None:
        if self._call is not None:
            self._call.cancel()

    def _send_misordered(self) -> None:
        """Sends old messages again in a wrong order; one stream would be refused at the gateway, so each has its own."""
        messages = self.book.answered[-MISORDERED:]
        self._rng.shuffle(messages)
        try:
            with grpc.insecure_channel(f"{self._config.host}:{self._config.gateway_port}", OPTIONS) as channel:
                for _, message in messages:
                    for _ in _method(channel)(iter((message,)), metadata=token(self._config), timeout=CONNECT_S):
                        pass
        except grpc.RpcError as error:
            log.warning("messages out of order: %s", error.details())


def _method(channel: grpc.Channel) -> Any:
    return channel.stream_stream("/sentra.v1.Ingest/Exchange", response_deserializer=events_pb2.IngestAck.FromString)


def offer(config: RunConfig, stop: threading.Event) -> LoadSummary:
    """Offers the whole load and returns once every message is answered, or given up."""
    parent = parent_id()
    epoch_ns = time.monotonic_ns() + int(START_AFTER_S * NS_PER_S)
    source = MessageSource(config.scenario.load, config.load_s, epoch_ns, config.seed)
    sent, acks = HopLog(config.scratch, *GENERATOR_MESSAGES), HopLog(config.scratch, *GENERATOR_ACKS)
    window_ns = epoch_ns + round(config.warmup_s * NS_PER_S)
    pacer = Pacer(source, sent, stopping(stop, parent), window_ns)
    resender = Resender(config, pacer, AckBook(acks), stop)
    signal.signal(signal.SIGUSR1, lambda *_: resender.repeated.set())
    signal.signal(signal.SIGUSR2, lambda *_: resender.misordered.set())
    write_ready(config.scratch / f"{NAME}.ready", str(epoch_ns))
    try:
        resender.run()
    finally:
        sent.close()
        acks.close()
    if not pacer.sent:
        raise PlantError("generator: must send a message, got none sent; give the load a second or more")
    book = resender.book
    answer = events_pb2.IngestSummary(
        received_events=book.acked_events + book.refused_events,
        acked_events=book.acked_events,
        refused_events=book.refused_events,
    )
    log.info("%d streams", resender.streams)
    return summarise(config, pacer, epoch_ns, answer)


if __name__ == "__main__":
    run_generator(offer)

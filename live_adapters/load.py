"""The open-loop load generator: every message leaves at a time that was fixed beforehand, whatever the pipeline does.

A process of its own, `python -m live_adapters.load --config FILE`. It runs no event loop: gRPC takes messages from an
iterator, and the iterator sleeps until each is due. `time.sleep` is exact to some 60 µs, an event loop's timer to 1 ms.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import grpc
import numpy as np
from numpy.typing import NDArray

from live_adapters.delays import DelayCounts
from live_adapters.host.scheduling import ask_short_slice
from live_adapters.pipeline import events_pb2, planted
from live_adapters.pipeline.codec import blank_events, encode_ingest
from live_adapters.pipeline.config import RunConfig
from live_adapters.pipeline.hoplog import GENERATOR_MESSAGES, MESSAGES, HopLog
from live_adapters.pipeline.process import parent_id, read_arguments, write_ready
from live_adapters.pipeline.telemetry.gclog import GcPauses
from live_adapters.pipeline.tokens import METADATA_KEY, mint_token
from sentra_sim.errors import PlantError, SentraError
from sentra_sim.rng import stream
from sentra_sim.scenario.arrivals import count_offered, draw_chunks
from sentra_sim.scenario.keys import tenant_of
from sentra_sim.scenario.schema import Load
from sentra_sim.units import NS_PER_S

NAME = "generator"
SUMMARY_FILE = "generator.json"
SESSION = 1
START_AFTER_S = 0.3  # from ready to the first event, so that who watches sees the whole load
CONNECT_S = 10.0
TOKEN_S = 60.0  # the gateway looks at a token when the stream begins
LOG_EVERY_S = 0.5
CHUNK_EVENTS = 8_192  # drawn in about a millisecond, less than the time between two messages
NAP_S = 0.2  # longest sleep between two looks at whether to stop

log = logging.getLogger(NAME)


@dataclass(frozen=True)
class LoadSummary:
    """What the generator did, over the whole load; delays in seconds, of the events or messages of the window.

    `send_delay`: an event's actual minus its intended send time, so the wait for its tick included. `lateness`: a
    message's actual minus its due send time. Quantiles are exact to a thousandth of their value.
    """

    epoch_ns: int
    sent_events: int
    received_events: int
    acked_events: int
    refused_events: int
    offered_events: int  # intended within the window
    send_delay_p50_s: float | None
    send_delay_p99_s: float | None
    lateness_p99_s: float | None
    lateness_max_s: float | None


@dataclass(frozen=True)
class Message:
    """One message: when it is due, the intended send times of its events, and itself, encoded."""

    due_ns: int
    intended_ns: NDArray[np.int64]
    data: bytes


class MessageSource:
    """The messages of a load in order. Its events are drawn a few thousand ahead, each message is encoded when it is next."""

    def __init__(self, load: Load, seconds: float, epoch_ns: int, seed: int) -> None:
        self._load = load
        self._epoch_ns = epoch_ns
        self._chunks = draw_chunks(load, seconds, seed, CHUNK_EVENTS)
        self._rng = stream(seed, NAME, "values")
        self._sent = 0  # events

    def __iter__(self) -> Iterator[Message]:
        """Yields what is left of the load."""
        for chunk in self._chunks:
            due_ns, intended_ns = self._clock(chunk.send_s), self._clock(chunk.intended_s)
            bounds = np.searchsorted(chunk.message, np.arange(len(due_ns) + 1)).tolist()
            tenants = tenant_of(chunk.keys, self._load.tenants)
            events = blank_events(len(chunk.keys), self._load.event_bytes)
            events["session"] = SESSION
            events["sequence"] = np.arange(self._sent + 1, self._sent + len(events) + 1)
            events["intended_ns"] = intended_ns
            events["tenant"] = tenants
            events["key"] = chunk.keys
            self._sent += len(events)
            for due, first, end in zip(due_ns.tolist(), bounds, bounds[1:], strict=False):
                yield Message(due, intended_ns[first:end], self._encode(events[first:end]))

    def _clock(self, times_s: NDArray[np.float64]) -> NDArray[np.int64]:
        return np.asarray(self._epoch_ns + np.round(times_s * NS_PER_S).astype(np.int64))

    def _encode(self, events: NDArray[np.void]) -> bytes:
        """Serialises events as an IngestRequest."""
        events["quantity"] = 1.0 + 99.0 * self._rng.random(len(events))
        events["limit_price"] = 100.0 * np.exp(0.05 * self._rng.standard_normal(len(events)))
        return encode_ingest(events)


class Pacer:
    """Hands each message out at its due time, or at once when it is late, and notes when that was.

    Delays are counted of what is intended, or due, from `counted_from_ns` on.
    """

    def __init__(
        self,
        source: MessageSource,
        hop_log: HopLog,
        stopping: Callable[[], bool],
        counted_from_ns: int,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.sent = 0  # messages
        self.last_sequence = 0  # of the last message sent
        self.sent_events = 0  # of the messages in the log
        self.send_delay = DelayCounts()
        self.lateness = DelayCounts()
        self._source = source
        self._log = hop_log
        self._sent: list[tuple[Message, int]] = []  # since the last entry in the log, and when
        self._stopping = stopping
        self._counted_from_ns = counted_from_ns
        self._clock = clock
        self._sleep = sleep

    def messages(self) -> Iterator[bytes]:
        """Yields the encoded messages; ends early when asked to stop."""
        log_at = 0
        for message in self._source:
            if not self._wait(message.due_ns):
                break
            now = self._clock()
            self._sent.append((message, now))
            self.sent += 1
            self.last_sequence += len(message.intended_ns)
            if now >= log_at:
                self.write_log()
                log_at = now + int(LOG_EVERY_S * NS_PER_S)
            yield message.data
        self.write_log()

    def write_log(self) -> None:
        """Appends the messages sent since the last call to the hop log, and counts their delays."""
        if not self._sent:
            return
        rows = np.empty(len(self._sent), dtype=MESSAGES)
        rows["due"] = [message.due_ns for message, _ in self._sent]
        rows["sent"] = [sent_ns for _, sent_ns in self._sent]
        rows["events"] = [len(message.intended_ns) for message, _ in self._sent]
        intended_ns = np.concatenate([message.intended_ns for message, _ in self._sent])
        self._sent.clear()
        self._log.append(rows)
        self.sent_events += len(intended_ns)
        delay_ns = np.repeat(rows["sent"], rows["events"]) - intended_ns
        self.send_delay.add(delay_ns[intended_ns >= self._counted_from_ns])
        self.lateness.add((rows["sent"] - rows["due"])[rows["due"] >= self._counted_from_ns])

    def _wait(self, due_ns: int) -> bool:
        """Sleeps until `due_ns`; returns False when asked to stop."""
        while not self._stopping():
            left_s = (due_ns - self._clock()) / NS_PER_S
            if left_s <= 0.0:
                return True
            self._sleep(min(left_s, NAP_S))
        return False


def summarise(config: RunConfig, pacer: Pacer, epoch_ns: int, answer: events_pb2.IngestSummary) -> LoadSummary:
    """Returns the generator's own account of the load, its delays over the events intended within the window."""
    window_s = (config.warmup_s, config.load_s)
    return LoadSummary(
        epoch_ns=epoch_ns,
        sent_events=pacer.sent_events,
        received_events=answer.received_events,
        acked_events=answer.acked_events,
        refused_events=answer.refused_events,
        offered_events=count_offered(config.scenario.load, window_s, config.seed)[0],
        send_delay_p50_s=pacer.send_delay.quantile_s(0.50),
        send_delay_p99_s=pacer.send_delay.quantile_s(0.99),
        lateness_p99_s=pacer.lateness.quantile_s(0.99),
        lateness_max_s=pacer.lateness.longest_s,
    )


def offer(config: RunConfig, stop: threading.Event) -> LoadSummary:
    """Offers the whole load to the gateway and returns once it has answered.

    Raises:
        PlantError: the gateway cannot be reached, or it ended the stream.
    """
    parent = parent_id()
    with grpc.insecure_channel(f"{config.host}:{config.gateway_port}") as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=CONNECT_S)
        except grpc.FutureTimeoutError:
            raise PlantError(f"generator: the gateway must answer within {CONNECT_S:.0f} s, got nothing") from None
        call = channel.stream_unary(
            "/sentra.v1.Ingest/Stream", response_deserializer=events_pb2.IngestSummary.FromString
        )
        epoch_ns = time.monotonic_ns() + int(START_AFTER_S * NS_PER_S)
        source = MessageSource(config.scenario.load, config.load_s, epoch_ns, config.seed)
        hop_log = HopLog(config.scratch, *GENERATOR_MESSAGES)
        window_ns = epoch_ns + round(config.warmup_s * NS_PER_S)
        pacer = Pacer(source, hop_log, stopping(stop, parent), window_ns)
        write_ready(config.scratch / f"{NAME}.ready", str(epoch_ns))
        try:
            answer = call(planted.sent_messages(config, pacer.messages()), metadata=token(config))
        except grpc.RpcError as error:
            raise PlantError(
                f"generator: the gateway ended the stream, {error.code().name}: {error.details()}"
            ) from None
        finally:
            hop_log.close()
    return summarise(config, pacer, epoch_ns, answer)


def stopping(stop: threading.Event, parent: int) -> Callable[[], bool]:
    """Returns what tells whether to send no more: asked to end, or left without the parent process."""
    return lambda: stop.is_set() or os.getppid() != parent


def token(config: RunConfig) -> tuple[tuple[str, str], ...]:
    """Returns the metadata with a token of every tenant, when the gateway asks for one."""
    secret = config.gateway_rules.token_secret
    return ((METADATA_KEY, mint_token(secret, None, time.time() + TOKEN_S)),) if secret else ()


def run_generator(offer: Callable[[RunConfig, threading.Event], LoadSummary]) -> None:
    """Runs a generator process to the end of its load, as `offer` offers it."""
    ask_short_slice()  # before gRPC starts its threads
    try:
        _, config = read_arguments(NAME)
        if config.telemetry:
            GcPauses(config.scratch, NAME).start()
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        summary = offer(config, stop)
    except SentraError as error:
        log.error("%s", error)
        sys.exit(error.exit_code)
    write_ready(config.scratch / SUMMARY_FILE, json.dumps(asdict(summary)))
    log.info("sent %d events, %d acknowledged", summary.sent_events, summary.acked_events)


if __name__ == "__main__":
    run_generator(offer)

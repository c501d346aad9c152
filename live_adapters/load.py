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

from live_adapters.pipeline import events_pb2
from live_adapters.pipeline.codec import blank_events, encode_ingest
from live_adapters.pipeline.config import RunConfig
from live_adapters.pipeline.hoplog import GENERATOR_MESSAGES, MESSAGES, HopLog
from live_adapters.pipeline.process import parent_id, read_arguments, write_ready
from live_adapters.pipeline.telemetry.gclog import GcPauses
from live_adapters.pipeline.tokens import METADATA_KEY, mint_token
from live_adapters.scheduling import ask_short_slice
from sentra_sim.errors import PlantError, SentraError
from sentra_sim.rng import stream
from sentra_sim.scenario.arrivals import Offered, draw_offered
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
NAP_S = 0.2  # longest sleep between two looks at whether to stop

log = logging.getLogger(NAME)


@dataclass(frozen=True)
class LoadSummary:
    """What the generator did, over the whole load; delays in seconds, of the events or messages of the window.

    `send_delay`: an event's actual minus its intended send time, so the wait for its tick included. `lateness`: a
    message's actual minus its due send time.
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


class MessageSource:
    """The messages of a load in order, each encoded when it is due: sequence, times, keys and tenants are arrays already."""

    def __init__(self, load: Load, offered: Offered, epoch_ns: int, seed: int) -> None:
        count = len(offered.send_s)
        self.offered = offered
        self.due_ns = epoch_ns + np.round(offered.send_s * NS_PER_S).astype(np.int64)
        self.intended_ns = epoch_ns + np.round(offered.intended_s * NS_PER_S).astype(np.int64)
        self.bounds = np.searchsorted(offered.message, np.arange(count + 1))
        self._tenants = tenant_of(offered.keys, load.tenants)
        self._rng = stream(seed, NAME, "values")
        self._blank = blank_events(int(np.diff(self.bounds).max(initial=0)), load.event_bytes)
        self._blank["session"] = SESSION

    def __len__(self) -> int:
        return len(self.due_ns)

    def encode(self, message: int) -> bytes:
        """Serialises one message as an IngestRequest."""
        first, end = int(self.bounds[message]), int(self.bounds[message + 1])
        events = self._blank[: end - first]
        events["sequence"] = np.arange(first + 1, end + 1)
        events["intended_ns"] = self.intended_ns[first:end]
        events["tenant"] = self._tenants[first:end]
        events["key"] = self.offered.keys[first:end]
        events["quantity"] = 1.0 + 99.0 * self._rng.random(end - first)
        events["limit_price"] = 100.0 * np.exp(0.05 * self._rng.standard_normal(end - first))
        return encode_ingest(events)


class Pacer:
    """Hands each message out at its due time, or at once when it is late, and notes when that was."""

    def __init__(
        self,
        source: MessageSource,
        hop_log: HopLog,
        stopping: Callable[[], bool],
        clock: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.source = source
        self.sent_ns: NDArray[np.int64] = np.zeros(len(source), dtype=np.int64)
        self.sent = 0  # messages
        self._log = hop_log
        self._logged = 0
        self._stopping = stopping
        self._clock = clock
        self._sleep = sleep

    def messages(self) -> Iterator[bytes]:
        """Yields the encoded messages; ends early when asked to stop."""
        log_at = 0
        for number in range(len(self.source)):
            message = self.source.encode(number)
            if not self._wait(int(self.source.due_ns[number])):
                break
            now = self._clock()
            self.sent_ns[number] = now
            self.sent = number + 1
            if now >= log_at:
                self.write_log()
                log_at = now + int(LOG_EVERY_S * NS_PER_S)
            yield message
        self.write_log()

    def write_log(self) -> None:
        """Appends the messages sent since the last call to the hop log."""
        rows = np.zeros(self.sent - self._logged, dtype=MESSAGES)
        rows["due"] = self.source.due_ns[self._logged : self.sent]
        rows["sent"] = self.sent_ns[self._logged : self.sent]
        rows["events"] = np.diff(self.source.bounds[self._logged : self.sent + 1])
        self._log.append(rows)
        self._logged = self.sent

    def _wait(self, due_ns: int) -> bool:
        """Sleeps until `due_ns`; returns False when asked to stop."""
        while not self._stopping():
            left_s = (due_ns - self._clock()) / NS_PER_S
            if left_s <= 0.0:
                return True
            self._sleep(min(left_s, NAP_S))
        return False


def summarise(config: RunConfig, pacer: Pacer, epoch_ns: int, answer: events_pb2.IngestSummary) -> LoadSummary:
    """Computes the generator's own account of the load, its delays over the events intended within the window."""
    source = pacer.source
    sent = int(source.bounds[pacer.sent])
    inside = source.offered.intended_s >= config.warmup_s
    message = source.offered.message[:sent]
    delay = (pacer.sent_ns[message] - source.intended_ns[:sent])[inside[:sent]] / NS_PER_S
    due = source.offered.send_s[: pacer.sent] >= config.warmup_s
    late = (pacer.sent_ns[: pacer.sent] - source.due_ns[: pacer.sent])[due] / NS_PER_S
    return LoadSummary(
        epoch_ns=epoch_ns,
        sent_events=sent,
        received_events=answer.received_events,
        acked_events=answer.acked_events,
        refused_events=answer.refused_events,
        offered_events=int(inside.sum()),
        send_delay_p50_s=float(np.quantile(delay, 0.50)) if len(delay) else None,
        send_delay_p99_s=float(np.quantile(delay, 0.99)) if len(delay) else None,
        lateness_p99_s=float(np.quantile(late, 0.99)) if len(late) else None,
        lateness_max_s=float(late.max()) if len(late) else None,
    )


def offer(config: RunConfig, stop: threading.Event) -> LoadSummary:
    """Offers the whole load to the gateway and returns once it has answered.

    Raises:
        PlantError: the gateway cannot be reached, or it ended the stream.
    """
    parent = parent_id()
    load = config.scenario.load
    offered = draw_offered(load, config.load_s, config.seed)
    with grpc.insecure_channel(f"{config.host}:{config.gateway_port}") as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=CONNECT_S)
        except grpc.FutureTimeoutError:
            raise PlantError(f"generator: the gateway must answer within {CONNECT_S:.0f} s, got nothing") from None
        call = channel.stream_unary(
            "/sentra.v1.Ingest/Stream", response_deserializer=events_pb2.IngestSummary.FromString
        )
        epoch_ns = time.monotonic_ns() + int(START_AFTER_S * NS_PER_S)
        source = MessageSource(load, offered, epoch_ns, config.seed)
        hop_log = HopLog(config.scratch, *GENERATOR_MESSAGES)
        pacer = Pacer(source, hop_log, lambda: stop.is_set() or os.getppid() != parent)
        write_ready(config.scratch / f"{NAME}.ready", str(epoch_ns))
        try:
            answer = call(pacer.messages(), metadata=_token(config))
        except grpc.RpcError as error:
            raise PlantError(
                f"generator: the gateway ended the stream, {error.code().name}: {error.details()}"
            ) from None
        finally:
            hop_log.close()
    return summarise(config, pacer, epoch_ns, answer)


def _token(config: RunConfig) -> tuple[tuple[str, str], ...]:
    """Returns the metadata with a token of every tenant, when the gateway asks for one."""
    secret = config.gateway_rules.token_secret
    return ((METADATA_KEY, mint_token(secret, None, time.time() + TOKEN_S)),) if secret else ()


def main() -> None:
    """Runs the generator process to the end of its load."""
    ask_short_slice()  # before gRPC starts its threads
    try:
        config = read_arguments(NAME)
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
    main()

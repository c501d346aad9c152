"""A performance smoke test: `make perf-smoke` offers 5,000 messages/s over gRPC to the real pipeline and looks at their P95.

Latency is from when a message was *due* until its acknowledgement was read: a generator or a gateway that falls behind shows in it.
"""

from __future__ import annotations

import argparse
import asyncio
import bisect
import math
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import psutil
from numpy.typing import NDArray
from rich.console import Console

from live_adapters import stack as local_stack
from live_adapters.measurable import choose_ports
from live_adapters.pipeline import events_pb2
from live_adapters.pipeline.codec import blank_events, encode_ingest
from live_adapters.pipeline.config import RunConfig, configure
from live_adapters.pipeline.ingress.exchange import WITHIN_KEY
from live_adapters.pipeline.stores.storage import count_effects, reset_stores
from live_adapters.pipeline.supervisor import Supervisor
from live_adapters.pipeline.tokens import METADATA_KEY, mint_token
from sentra_sim.errors import InputError, SentraError
from sentra_sim.scenario import load_scenario
from sentra_sim.scenario.keys import tenant_of
from sentra_sim.units import NS_PER_S
from tests.perf.wire import Call, CallFailed

SCENARIO = Path(__file__).parents[2] / "data" / "scenarios" / "sentra.yaml"
TICK_S = 0.002  # messages that are due within it leave together: fewer wake-ups, and the wait counts as latency
START_AFTER_S = 0.5
EXCHANGE = "/sentra.v1.Ingest/Exchange"
WITHIN_MS = 10  # answers may be held back so long, so that several come as one
ANSWER_S = 30.0  # after the last message


@dataclass(frozen=True)
class Smoke:
    """What is offered, and the bound."""

    rate_mps: float
    seconds: float
    warmup_s: float
    connections: int
    p95_ms: float

    def __post_init__(self) -> None:
        for name in ("rate_mps", "seconds", "connections", "p95_ms"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise InputError(f"perf-smoke: {name} must be above 0, got {getattr(self, name):g}; mend the value")

    @property
    def messages(self) -> int:
        """Messages of one connection, those of the warm-up included."""
        return round(self.rate_mps * (self.warmup_s + self.seconds) / self.connections)


class Producer(threading.Thread):
    """One connection: one event a message, each at its time, whatever has been answered."""

    def __init__(self, config: RunConfig, smoke: Smoke, number: int, epoch_ns: int) -> None:
        super().__init__(name=f"producer-{number}", daemon=True)
        self._config = config
        gap_ns = NS_PER_S * smoke.connections / smoke.rate_mps
        first_ns = epoch_ns + gap_ns * number / smoke.connections
        self.due_ns: NDArray[np.int64] = (first_ns + gap_ns * np.arange(smoke.messages)).astype(np.int64)
        self.sent_ns: NDArray[np.int64] = np.zeros(smoke.messages, dtype=np.int64)
        self.answered_ns: NDArray[np.int64] = np.zeros(smoke.messages, dtype=np.int64)
        self.refused: Counter[str] = Counter()
        self.failure = ""
        self._messages = encoded(config, self.due_ns, session=number + 1)

    def run(self) -> None:
        """Sends and reads until everything is answered."""
        try:
            self._exchange()
        except CallFailed as error:
            self.failure = str(error)

    def _exchange(self) -> None:
        secret = self._config.gateway_rules.token_secret
        metadata = [(METADATA_KEY, mint_token(secret, None, time.time() + 600.0))] if secret else []
        metadata.append((WITHIN_KEY, str(WITHIN_MS)))
        call = Call(self._config.host, self._config.gateway_port, EXCHANGE, metadata)
        try:
            self._offer(call)
            call.done()
            give_up_ns = time.monotonic_ns() + int(ANSWER_S * NS_PER_S)
            while not call.ended:
                self._answered(call.receive(give_up_ns))
                if time.monotonic_ns() >= give_up_ns:
                    raise CallFailed(f"{grpc.StatusCode.DEADLINE_EXCEEDED.name}: no end within {ANSWER_S:.0f} s")
        finally:
            call.close()

    def _offer(self, call: Call) -> None:
        """Sends each message when it is due, or at once when it is late; reads answers while none is due."""
        due_ns = self.due_ns.tolist()
        sent = 0
        while sent < len(due_ns) and not call.ended:
            now = time.monotonic_ns()
            if (due := bisect.bisect_right(due_ns, now, sent)) > sent:
                call.send(self._messages[sent:due])
                self.sent_ns[sent:due] = time.monotonic_ns()
                sent = due
            else:
                now = due_ns[sent]
            tick_ns = now + int(TICK_S * NS_PER_S)
            while time.monotonic_ns() < tick_ns and not call.ended:
                self._answered(call.receive(tick_ns))

    def _answered(self, answers: list[bytes]) -> None:
        now = time.monotonic_ns()
        for answer in answers:
            first = events_pb2.IngestAck.FromString(answer)
            for ack in (first, *first.more):
                if ack.acked_events:
                    self.answered_ns[ack.message - 1] = now
                elif not ack.message:
                    self.failure = ack.detail
                if ack.code:
                    self.refused.update(ack.refused_by_reason)


def encoded(config: RunConfig, due_ns: NDArray[np.int64], session: int) -> list[bytes]:
    """Returns one request an event, of keys all over the partitions."""
    events = blank_events(len(due_ns), config.scenario.load.event_bytes)
    events["sequence"], events["intended_ns"], events["session"] = np.arange(1, len(due_ns) + 1), due_ns, session
    events["key"] = np.random.default_rng(session).integers(0, config.scenario.load.keys, len(due_ns))
    events["tenant"] = tenant_of(events["key"].astype(np.uint32), config.scenario.load.tenants)
    events["quantity"], events["limit_price"] = 1.0, 100.0
    together = encode_ingest(events)
    size = len(together) // len(due_ns)
    return [together[start : start + size] for start in range(0, len(together), size)]


@contextmanager
def pipeline() -> Iterator[tuple[RunConfig, psutil.Process]]:
    """The stack, left up if it was, and the pipeline's processes on it; yields its configuration and the gateway."""
    was_up = bool(local_stack.status())
    endpoints = local_stack.up()
    try:
        with tempfile.TemporaryDirectory(prefix="perf-smoke-") as scratch:
            topic = f"perf-smoke-{Path(scratch).name}"
            config = configure(load_scenario(SCENARIO), endpoints, choose_ports(), Path(scratch), topic=topic)
            topics = (config.topic, config.dead_letter_topic)
            try:
                for name in topics:
                    local_stack.ensure_topic(config.kafka, name, config.partitions)
                asyncio.run(reset_stores(config))
                with Supervisor(config.scratch, config.file) as supervisor:
                    for names in (("pricing", "fanout"), ("worker", "gateway")):
                        supervisor.start({name: f"live_adapters.pipeline.{name}" for name in names})
                    yield config, psutil.Process(supervisor.pids()["gateway"])
            finally:
                for name in topics:
                    local_stack.delete_topic(config.kafka, name)
    finally:
        if not was_up:
            local_stack.down()


def offer(config: RunConfig, smoke: Smoke) -> list[Producer]:
    """Offers the load and returns the producers when all of it is answered."""
    epoch_ns = time.monotonic_ns() + int((START_AFTER_S + smoke.rate_mps * 1e-5) * NS_PER_S)
    producers = [Producer(config, smoke, number, epoch_ns) for number in range(smoke.connections)]
    for producer in producers:
        producer.start()
    for producer in producers:
        producer.join()
    return producers


def judge(producers: list[Producer], smoke: Smoke, out: Console) -> list[str]:
    """Prints what was seen; returns one line for each bound that is broken."""
    due, sent, answered = (
        np.concatenate([getattr(producer, name) for producer in producers])
        for name in ("due_ns", "sent_ns", "answered_ns")
    )
    inside = due >= due.min() + smoke.warmup_s * NS_PER_S
    missing = int((answered == 0).sum())
    # What was never answered is slower than any answer: infinite, not left out.
    latency_ms = np.where(answered == 0, np.inf, (answered - due) / 1e6)[inside]
    p50, p95, p99 = np.quantile(latency_ms, (0.50, 0.95, 0.99), method="higher")
    late_ms = float(np.quantile(((sent - due) / 1e6)[inside & (sent > 0)], 0.99)) if (sent > 0).any() else math.inf
    out.print(
        f"{int(inside.sum()):,} messages at {smoke.rate_mps:,.0f}/s over {smoke.connections} connections: due → acknowledged "
        f"P50/P95/P99 {p50:.1f}/{p95:.1f}/{p99:.1f} ms, of that sent late P99 {late_ms:.1f} ms"
    )
    lines = [
        f"{producer.name}: must be answered to the end, got {producer.failure}"
        for producer in producers
        if producer.failure
    ]
    refused = sum((producer.refused for producer in producers), Counter())
    if missing or refused:
        lines.append(f"messages: all must be acknowledged, got {missing:,} that were not, refused {dict(refused)}")
    if not p95 < smoke.p95_ms:
        lines.append(f"P95: must be below {smoke.p95_ms:g} ms, got {p95:.1f} ms")
    return lines


def check_effects(config: RunConfig, messages: int) -> list[str]:
    """Waits until the worker has taken everything; returns a line when it does not, or when effects are lost or doubled."""
    deadline = time.monotonic() + ANSWER_S
    while (counts := asyncio.run(count_effects(config)))["progress"] < messages and time.monotonic() < deadline:
        time.sleep(0.1)
    if (counts["effects"], counts["dead"]) == (messages, 0):
        return []
    return [f"effects: must be {messages:,}, got {counts['effects']:,}, {counts['dead']:,} put aside"]


def parse(arguments: list[str] | None = None) -> Smoke:
    """Reads the command line."""
    parser = argparse.ArgumentParser(prog="tests.perf.smoke", description=__doc__)
    parser.add_argument("--rate", type=float, default=5_000.0, help="messages/s (5000)")
    parser.add_argument("--seconds", type=float, default=20.0, help="that count (20)")
    parser.add_argument("--warmup", type=float, default=75.0, help="load before them (75)")
    parser.add_argument("--connections", type=int, default=4, help="that share the rate (4)")
    parser.add_argument("--p95-ms", type=float, default=150.0, help="the bound (150)")
    given = parser.parse_args(arguments)
    return Smoke(given.rate, given.seconds, given.warmup, given.connections, given.p95_ms)


def main() -> int:
    """Runs the smoke test; returns 0, or 1 when a bound is broken."""
    out = Console(highlight=False, soft_wrap=True)
    try:
        smoke = parse()
        with pipeline() as (config, gateway):
            own_s, gateway_s = time.process_time(), sum(gateway.cpu_times()[:2])
            producers = offer(config, smoke)
            lines = judge(producers, smoke, out)
            own_s, gateway_s = time.process_time() - own_s, sum(gateway.cpu_times()[:2]) - gateway_s
            answered = max(1, sum(int((producer.answered_ns > 0).sum()) for producer in producers))
            out.print(
                f"CPU per message: gateway {1e6 * gateway_s / answered:.0f} µs, generator {1e6 * own_s / answered:.0f} µs"
            )
            lines += check_effects(config, smoke.messages * smoke.connections)
    except SentraError as error:
        print(f"perf-smoke: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    for line in lines:
        out.print(f"[bold red]BREACH[/] {line}")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())

"""What a change of the consumer group costs the partitions that keep their owner, and what an event costs: clients compared.

    python -m tests.benchmarks.bench_rebalance            # on the running stack (`sentra up`); prints a table

Every variant reads the same load, one member after another joins, leaves and is killed. A partition's pause is the longest time
without a record of it; it is untouched when the same member owned it before and after. Times are of this machine as busy as it
is; CPU per event is each process' own.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from live_adapters import stack
from live_adapters.pipeline.config import RunConfig, read_config
from live_adapters.pipeline.hoplog import HopLog
from tests.live.back_half import make_config, make_events, produce

TAKEN = np.dtype([("at", "<i8"), ("partition", "<i4"), ("events", "<i4"), ("cpu_ns", "<i8")])
RATE_EPS, FRAME_EVENTS = 12_000, 40  # 50 frames/s a partition
STEADY_S, AFTER_S, CRASH_S = 5.0, 4.0, 7.0
SESSION_MS, HEARTBEAT_MS = 3000, 500  # of all variants; those of the consumer protocol are the brokers'
PATIENCE_MS = 100

Note = Callable[[int, int], None]


async def read_by_source(config: RunConfig, name: str, note: Note) -> None:
    """The worker's own: `consumer.Source`."""
    from live_adapters.pipeline.consumer.source import Source

    async def assigned(firsts: dict[int, int]) -> dict[int, int]:
        from live_adapters.pipeline.stores.storage import end_offsets

        ends = await end_offsets(config)
        return {partition: ends[partition] for partition in firsts}

    async def revoked(_: list[int]) -> None:
        return

    source = Source(config, name, assigned, revoked)
    stopped = stop_signal()
    await source.start()
    while not stopped.is_set():
        for batch in await source.poll():
            note(batch.partition, batch.count)
    await source.stop()


async def read_by_aiokafka(config: RunConfig, name: str, note: Note) -> None:
    """aiokafka's group: eager, every member gives everything up at every change. Reads whole batches, as the worker does."""
    from aiokafka import AIOKafkaConsumer

    from live_adapters.pipeline.consumer import wholebatches

    wholebatches.install()
    consumer = AIOKafkaConsumer(
        config.topic,
        bootstrap_servers=config.kafka,
        group_id=config.group,
        client_id=name,
        enable_auto_commit=False,
        session_timeout_ms=SESSION_MS,
        heartbeat_interval_ms=HEARTBEAT_MS,
        fetch_max_wait_ms=PATIENCE_MS,
        retry_backoff_ms=50,
    )
    stopped = stop_signal()
    await consumer.start()
    while not stopped.is_set():
        for tp, batches in (await consumer.getmany(timeout_ms=200)).items():
            note(tp.partition, sum(batch.count for batch in batches))
    await consumer.stop()


def read_by_librdkafka(config: RunConfig, name: str, note: Note, settings: dict[str, Any]) -> None:
    """librdkafka's group and data, a Python object per record."""
    from confluent_kafka import Consumer

    consumer = Consumer(
        {
            "bootstrap.servers": config.kafka,
            "group.id": config.group,
            "client.id": name,
            "enable.auto.commit": False,
            "auto.offset.reset": "latest",
            "fetch.wait.max.ms": PATIENCE_MS,
            **settings,
        }
    )
    consumer.subscribe([config.topic])
    running = [True]
    signal.signal(signal.SIGTERM, lambda *_: running.clear())
    while running:
        counts: dict[int, int] = {}
        for message in consumer.consume(2000, timeout=0.02):
            if message.error() is None:
                counts[message.partition()] = counts.get(message.partition(), 0) + len(message.value()) // 64
        for partition, count in counts.items():
            note(partition, count)
    consumer.close()


VARIANTS: dict[str, Callable[[RunConfig, str, Note], Any]] = {
    "Source: KIP-848 member, aiokafka data": lambda *a: asyncio.run(read_by_source(*a)),
    "aiokafka, eager": lambda *a: asyncio.run(read_by_aiokafka(*a)),
    "librdkafka, cooperative-sticky": lambda *a: read_by_librdkafka(
        *a,
        {
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": SESSION_MS,
            "heartbeat.interval.ms": HEARTBEAT_MS,
        },
    ),
    "librdkafka, KIP-848": lambda *a: read_by_librdkafka(*a, {"group.protocol": "consumer"}),
}


def stop_signal() -> asyncio.Event:
    """Returns an event that SIGTERM sets."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    return stopped


def run_member(config: RunConfig, variant: str, name: str) -> None:
    """Reads until SIGTERM, noting what came when."""
    log = HopLog(config.scratch, name, "taken", TAKEN)

    def note(partition: int, events: int) -> None:
        log.append(np.array([(time.monotonic_ns(), partition, events, time.process_time_ns())], dtype=TAKEN))

    VARIANTS[variant](config, name, note)


class Group:
    """The members of one variant."""

    def __init__(self, config: RunConfig, variant: str) -> None:
        self._config, self._variant = config, variant
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self._started = 0

    def add(self) -> None:
        """Starts one more and waits until it reads."""
        self._started += 1
        name = f"member-{self._started}"
        self.running[name] = start("member", self._config, self._variant, name)
        file = self._config.scratch / f"{name}.taken.bin"
        deadline = time.monotonic() + 30.0
        while not file.exists() or file.stat().st_size == 0:
            if time.monotonic() > deadline:
                raise SystemExit(f"{self._variant}: {name} must read within 30 s, got nothing")
            time.sleep(0.05)

    def remove(self, number: signal.Signals) -> None:
        """Ends the member that was started last."""
        process = self.running.pop(max(self.running))
        process.send_signal(number)
        process.wait(20.0)

    def taken(self) -> dict[str, np.ndarray]:
        """Returns what each member noted."""
        names = [file.name.partition(".")[0] for file in sorted(self._config.scratch.glob("member-*.taken.bin"))]
        return {name: np.fromfile(self._config.scratch / f"{name}.taken.bin", dtype=TAKEN) for name in names}


def start(*arguments: Any) -> subprocess.Popen[bytes]:
    """Starts this file as a process in another role."""
    role, config, *rest = arguments
    command = [sys.executable, "-m", "tests.benchmarks.bench_rebalance", role, str(config.file), *rest]
    return subprocess.Popen(command, env=dict(os.environ))


def pauses_s(taken: dict[str, np.ndarray], begin: int, end: int, partitions: int) -> tuple[float, float]:
    """Returns the longest pause of the partitions that kept their owner, and of those that changed hands, s; NaN for none."""
    kept, moved = [float("nan")], [float("nan")]
    for partition in range(partitions):
        mine = {name: rows["at"][rows["partition"] == partition] for name, rows in taken.items()}
        owners = {name for name, at in mine.items() if ((at >= begin - 10**9) & (at <= end)).any()}
        at = np.sort(np.concatenate(list(mine.values())))
        inside = at[(at >= begin - 10**8) & (at <= end)]
        gap = float(np.diff(inside).max() / 1e9) if len(inside) > 1 else float("nan")
        (kept if len(owners) == 1 else moved).append(gap)
    return float(np.nanmax(kept)), float(np.nanmax(moved))


def run_variant(config: RunConfig, variant: str) -> list[float]:
    """Returns CPU µs/event, then kept and moved pauses of scale-out to 2 and to 3, of scale-in and of a crash."""
    group = Group(config, variant)
    spans: list[tuple[int, int]] = []

    def change(deed: Callable[[], None], seconds: float) -> None:
        begin = time.monotonic_ns()
        deed()
        time.sleep(max(0.0, seconds - (time.monotonic_ns() - begin) / 1e9))
        spans.append((begin, time.monotonic_ns()))

    try:
        group.add()
        time.sleep(STEADY_S)
        change(group.add, AFTER_S)
        change(group.add, AFTER_S)
        change(lambda: group.remove(signal.SIGTERM), AFTER_S)
        change(lambda: group.remove(signal.SIGKILL), CRASH_S)
    finally:
        for process in group.running.values():
            process.kill()
            process.wait()
    taken = group.taken()
    alone = taken["member-1"]
    steady = alone[(alone["at"] > alone["at"][0] + 2 * 10**9) & (alone["at"] < spans[0][0])]
    cpu_us = float((steady["cpu_ns"][-1] - steady["cpu_ns"][0]) / 1e3 / steady["events"][1:].sum())
    return [cpu_us, *(pause for begin, end in spans for pause in pauses_s(taken, begin, end, config.partitions))]


def run_load(config: RunConfig, seconds: float) -> None:
    """Writes events at the rate until the time is over."""
    events = make_events(int(RATE_EPS * seconds))
    asyncio.run(produce(config, events, frame_events=FRAME_EVENTS, rate_eps=RATE_EPS))


def main() -> None:
    """Compares the variants one after another on the running stack."""
    parser = argparse.ArgumentParser()
    parser.add_argument("role", nargs="*", default=[])
    role = parser.parse_args().role
    if role:
        config = read_config(role[1])
        return run_member(config, *role[2:]) if role[0] == "member" else run_load(config, float(role[2]))
    endpoints = stack.endpoints()
    heads = ["CPU µs/event", *(f"{deed} {who}" for deed in ("1→2", "2→3", "3→2", "kill") for who in ("kept", "moved"))]
    print("| client | " + " | ".join(heads) + " |")
    print("|---" * (len(heads) + 1) + "|")
    for number, variant in enumerate(VARIANTS):
        with tempfile.TemporaryDirectory() as folder:
            config = make_config(endpoints, Path(folder), f"rebalance-{os.getpid()}-{number}")
            load = start("load", config, "120")
            try:
                found = run_variant(config, variant)
            finally:
                load.kill()
                load.wait()
                stack.delete_topic(config.kafka, config.topic)
        print(f"| {variant} | " + " | ".join(f"{value:.2f}" for value in found) + " |", flush=True)
    return None


if __name__ == "__main__":
    main()

"""The back half of the pipeline under test: its processes, and events written straight to Kafka."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from aiokafka import AIOKafkaConsumer

from live_adapters import stack as local_stack
from live_adapters.measurable import choose_ports
from live_adapters.pipeline.codec import EventArray, blank_events
from live_adapters.pipeline.config import RunConfig, configure
from live_adapters.pipeline.ingress.batcher import Batcher
from live_adapters.pipeline.ingress.producer import FrameSender, make_producer
from live_adapters.pipeline.scaling import station_of
from live_adapters.pipeline.stores.storage import count_effects
from sentra_sim.scenario import load_scenario
from sentra_sim.scenario.keys import tenant_of

SCENARIO = Path(__file__).parents[2] / "data" / "scenarios" / "sentra.yaml"
WAIT_S = 30.0


def make_config(stack: local_stack.Endpoints, scratch: Path, topic: str = "back-half") -> RunConfig:
    config = configure(load_scenario(SCENARIO), stack, choose_ports(), scratch, topic=topic)
    for name in (config.topic, config.dead_letter_topic):
        local_stack.ensure_topic(stack.kafka, name, config.partitions)
    return config


def make_events(count: int, first_sequence: int = 1, *, session: int = 1, keys: int = 500, seed: int = 1) -> EventArray:
    rng = np.random.default_rng(seed)
    events = blank_events(count, 64)
    events["session"] = session
    events["sequence"] = np.arange(first_sequence, first_sequence + count)
    events["key"] = rng.integers(0, keys, count)
    events["tenant"] = tenant_of(events["key"].astype(np.uint32), 20)
    events["quantity"] = 1.0 + rng.random(count)
    events["limit_price"] = 100.0 + rng.standard_normal(count)
    return events


async def produce(
    config: RunConfig,
    events: EventArray,
    *,
    frame_events: int = 250,
    rate_eps: float | None = None,
    over: asyncio.Event | None = None,
) -> int:
    """Writes events to Kafka in frames, paced when a rate is given, until `over` if that comes first.

    Returns how many it wrote, all of them acknowledged.
    """
    producer = make_producer(config.kafka)
    await producer.start()
    sender = FrameSender(producer, config.topic, config.partitions, lambda frame, sent_ns: None)
    batcher = Batcher(config.partitions, frame_events, 10**12)
    block = frame_events * config.partitions
    begun, written = time.monotonic(), 0
    for start in range(0, len(events), block):
        if over is not None and over.is_set():
            break
        sender.put(batcher.add(events[start : start + block], time.monotonic_ns()))
        sender.put(batcher.close_all(time.monotonic_ns()))
        written = min(start + block, len(events))
        if rate_eps is None:
            await sender.until_below(50_000)
        else:
            await asyncio.sleep(max(0.0, begun + (start + block) / rate_eps - time.monotonic()))
    await sender.until_below(1)
    await sender.close()
    await producer.stop()
    return written


async def until_taken(config: RunConfig, records: int) -> dict[str, int]:
    """Waits until PostgreSQL's progress accounts for so many records."""
    deadline = time.monotonic() + WAIT_S
    while (counts := await count_effects(config))["progress"] < records:
        assert time.monotonic() < deadline, f"only {counts} after {WAIT_S} s"
        await asyncio.sleep(0.05)
    return counts


class Processes:
    """Processes of the pipeline by name."""

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, *names: str) -> None:
        for name in names:
            ready = self.config.scratch / f"{name}.ready"
            ready.unlink(missing_ok=True)
            module = f"live_adapters.pipeline.{station_of(name)}"
            command = [sys.executable, "-m", module, "--config", str(self.config.file), "--name", name]
            with (self.config.scratch / f"{name}.log").open("ab") as log:
                self.running[name] = subprocess.Popen(command, stdout=log, stderr=log)
            self._until_ready(name, ready)

    def _until_ready(self, name: str, ready: Path) -> None:
        deadline = time.monotonic() + WAIT_S
        while not ready.exists():
            assert self.running[name].poll() is None, self.log(name)
            assert time.monotonic() < deadline, self.log(name)
            time.sleep(0.02)

    def kill(self, name: str) -> None:
        self.running[name].kill()
        self.running.pop(name).wait()

    def end(self, name: str) -> int:
        process = self.running.pop(name)
        process.send_signal(signal.SIGTERM)
        return process.wait(WAIT_S)

    def wait(self, name: str) -> int:
        return self.running.pop(name).wait(WAIT_S)

    def log(self, name: str) -> str:
        return (self.config.scratch / f"{name}.log").read_text()

    def cpu_s(self, name: str) -> float:
        fields = Path(f"/proc/{self.running[name].pid}/stat").read_text().rsplit(")", 1)[1].split()
        return sum(int(field) for field in fields[11:13]) / os.sysconf("SC_CLK_TCK")


@contextmanager
def back_half(
    config: RunConfig, names: tuple[str, ...] = ("pricing", "fanout", "subscriber", "worker")
) -> Iterator[Processes]:
    processes = Processes(config)
    try:
        processes.start(*names)
        yield processes
        for name in reversed(tuple(processes.running)):
            assert processes.end(name) == 0, processes.log(name)
    finally:
        for process in processes.running.values():
            process.kill()
            process.wait()


async def until_logged(processes: Processes, name: str, text: str, times: int = 1) -> None:
    """Waits until a process has logged a text so many times."""
    deadline = time.monotonic() + WAIT_S
    while processes.log(name).count(text) < times:
        assert time.monotonic() < deadline, processes.log(name)
        await asyncio.sleep(0.02)


def kill_store(name: str) -> None:
    """Kills a component of the stack; `stack.up` repairs it on its port and data."""
    (store,) = [component for component in local_stack.status() if component.name == name]
    assert store.pid is not None
    os.kill(store.pid, signal.SIGKILL)


async def dead_letters(config: RunConfig, count: int) -> list[Any]:
    """Reads the dead-letter topic until it has so many different ids."""
    consumer = AIOKafkaConsumer(config.dead_letter_topic, bootstrap_servers=config.kafka, auto_offset_reset="earliest")
    await consumer.start()
    records: list[Any] = []
    deadline = time.monotonic() + WAIT_S
    try:
        while len({dict(record.headers)["id"] for record in records}) < count:
            assert time.monotonic() < deadline, f"only {len(records)} records for {count} dead letters published"
            found = await consumer.getmany(timeout_ms=200)
            records += [record for some in found.values() for record in some]
    finally:
        await consumer.stop()
    return records

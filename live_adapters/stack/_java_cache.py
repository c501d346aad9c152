"""Java's cache of Kafka's classes, made once: with it a broker's start takes half the CPU time.

A training run of one broker, alone with a short load, writes down which classes it loaded, how they were linked and which
methods were hot (JEP 483, 514 and 515); a later Java maps that file instead of finding it all out again. Brokers share it.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

from live_adapters.stack import _kafka, _parts, topics
from live_adapters.stack._process import alive, end, marked, spawn
from live_adapters.stack._readiness import until_answer
from live_adapters.stack.folders import cache, locked
from sentra_sim.errors import StackError

_START_TIMEOUT_S = 60.0
# Java writes the file when it ends: 8 s of CPU time.
_WRITE_TIMEOUT_S = 90.0
_LOAD_S = 4.0
_KEPT = 3  # 75 MB each; checkouts of other versions may still use theirs
_NODE = _kafka.BROKERS[0]
_NAME = _kafka.broker_name(_NODE)


def cache_file(jars: Path) -> Path:
    """Returns where the cache for these jars, this Java and the brokers' options is or will be."""
    release = _parts.java().parents[1] / "release"
    parts = [release.read_text(), *_kafka.JVM_OPTIONS, str(jars)]
    # In the folder's own order, in which Java expands a class path; it compares sizes and times as well.
    parts += [f"{jar.name} {jar.stat().st_size} {int(jar.stat().st_mtime)}" for jar in os.scandir(jars)]
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:10]
    return cache() / f"{jars.name}-{digest}.aot"


def made_cache(jars: Path) -> Path | None:
    """Returns the cache if there is one; an empty file says that it could not be made."""
    try:
        file = cache_file(jars)
        return file if file.stat().st_size else None
    except OSError:
        return None


def ensure_cache(home: Path, jars: Path, ports: dict[str, int], report: Callable[[str], None]) -> None:
    """Makes the cache unless it is there, or has failed before: without it brokers only start more slowly.

    Args:
        home: Of a stack of which nothing runs; the broker that trains is marked as its first one, so that `down` ends it.
        jars: The brokers' class path.
        ports: The stack's, of which it takes those of the first broker.
        report: Gets a line when there is something to make.
    """
    try:
        file = cache_file(jars)
        if file.exists():
            return
        with locked(cache(), lambda: report("waiting for another `sentra up` that makes the brokers' class cache")):
            if not file.exists():
                report("making the brokers' class cache, once: 10 to 30 s, 75 MB; it halves the CPU time of a start")
                _make(home, jars, ports, file)
    except (OSError, StackError) as error:
        report(f"brokers start without a class cache: {error}")


def _make(home: Path, jars: Path, ports: dict[str, int], file: Path) -> None:
    part = file.with_name(f"{file.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of a training that was killed
    try:
        part.mkdir()
        _train(home, jars, ports, part / file.name)
        (part / file.name).replace(file)
    except (OSError, StackError) as error:
        file.touch()
        raise StackError(f"{error}; remove {file} to have it tried again") from error
    finally:
        end(((process, signal.SIGKILL) for process in marked(home).get(_NAME, [])), 0.0)
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(home / _NAME, ignore_errors=True)
    for old in sorted(cache().glob("kafka-*.aot"), key=lambda found: found.stat().st_mtime)[:-_KEPT]:
        old.unlink(missing_ok=True)  # a broker that has it mapped keeps it until it ends


def _train(home: Path, jars: Path, ports: dict[str, int], target: Path) -> None:
    own = {name(_NODE): ports[name(_NODE)] for name in (_kafka.broker_name, _kafka.controller_name)}
    bootstrap = f"127.0.0.1:{own[_NAME]}"
    site = home / _NAME
    launch = _kafka.launch(site, "training", own, _NODE, jars, record=target)
    process = spawn(home, launch)

    async def started() -> str:
        await topics.brokers_seen(bootstrap)
        return ""

    async def work() -> None:
        await until_answer(site, _NAME, process, started, time.monotonic() + _START_TIMEOUT_S)
        await asyncio.wait_for(_load(bootstrap), _START_TIMEOUT_S)

    try:
        asyncio.run(work())
    except Exception as error:  # aiokafka's and the time-out; nothing of a training is worth failing for
        raise StackError(" ".join(f"{type(error).__name__} {error}".split())) from error
    if running := alive(process):
        end([(running, signal.SIGTERM)], _WRITE_TIMEOUT_S)
    if not target.is_file() or not target.stat().st_size:
        raise StackError(f"java must write {target.name} when it ends, got none within {_WRITE_TIMEOUT_S:.0f} s")


async def _load(bootstrap: str) -> None:
    """Sends and takes records the way the pipeline does, so that the methods that it keeps busy are known as hot."""
    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
    from aiokafka.admin import NewTopic

    async with topics.admin(bootstrap) as client:
        await client.create_topics([NewTopic("training", num_partitions=6, replication_factor=1)])
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, linger_ms=3)
    consumer = AIOKafkaConsumer("training", bootstrap_servers=bootstrap, group_id="training")
    async with producer, consumer:
        until = time.monotonic() + _LOAD_S
        while time.monotonic() < until:
            sent = [await producer.send("training", bytes(200), key=bytes([number])) for number in range(50)]
            await asyncio.gather(*sent)
            if await consumer.getmany(timeout_ms=1):
                await consumer.commit()

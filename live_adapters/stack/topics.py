"""Topics of the local cluster: made, seen whole, and removed.

`ensure_topic`, `delete_topic` and `recreate_topic` block; inside an event loop call them through `asyncio.to_thread`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from sentra_sim.errors import StackError

REPLICAS = 3
# Error codes of the Kafka protocol.
_OK, _UNKNOWN, _EXISTS = 0, 3, 36
_FINAL = {17, 37, 39, 40, 42, 44}  # the request itself is wrong: name, partitions, assignment, config, form, policy


def ensure_topic(
    bootstrap: str, name: str, partitions: int, *, config: dict[str, str] | None = None, timeout_s: float = 30.0
) -> None:
    """Makes a topic of replication 3 unless it is there, and waits until every partition has three replicas in sync.

    Args:
        bootstrap: Broker addresses, `host:port,...`.
        name: The topic's.
        partitions: Their number; of a topic that is there it must be the same.
        config: Topic settings such as `retention.bytes`, for a topic that is made.
        timeout_s: Seconds to wait for the replicas.

    Raises:
        StackError: the brokers cannot be reached, the topic has other partitions, or replicas stay out of sync.
    """

    async def work() -> None:
        async with admin(bootstrap) as client:
            await ensure(client, name, partitions, config or {}, timeout_s)

    asyncio.run(work())


def delete_topic(bootstrap: str, name: str, *, timeout_s: float = 30.0) -> None:
    """Removes a topic with its data, if it is there, and waits until it is gone.

    Raises:
        StackError: the brokers cannot be reached, or the topic stays.
    """

    async def work() -> None:
        async with admin(bootstrap) as client:
            await delete(client, name, timeout_s)

    asyncio.run(work())


def recreate_topic(
    bootstrap: str, name: str, partitions: int, *, config: dict[str, str] | None = None, timeout_s: float = 30.0
) -> None:
    """Gives a run an empty topic: removes the old one, makes it anew, waits until all replicas are in sync.

    Raises:
        StackError: as in `ensure_topic` and `delete_topic`.
    """

    async def work() -> None:
        async with admin(bootstrap) as client:
            await delete(client, name, timeout_s)
            await ensure(client, name, partitions, config or {}, timeout_s)

    asyncio.run(work())


@asynccontextmanager
async def admin(bootstrap: str) -> AsyncIterator[Any]:
    """Yields a connected aiokafka admin client.

    Raises:
        StackError: the brokers cannot be reached, or the work in the block met an error of Kafka's.
    """
    from aiokafka.admin import AIOKafkaAdminClient
    from aiokafka.errors import KafkaError

    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it reports each refused connection
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap.split(","), request_timeout_ms=5000)
    try:
        await client.start()
        yield client
    except (KafkaError, OSError, TimeoutError) as error:
        reason = " ".join(f"{type(error).__name__} {error}".split())
        raise StackError(f"kafka {bootstrap}: must answer, got {reason}; `sentra status` tells who is down") from error
    finally:
        await client.close()


async def brokers_seen(bootstrap: str) -> set[int]:
    """Returns the node ids of the brokers that the (first reachable) bootstrap broker knows as live."""
    async with admin(bootstrap) as client:
        return set(_brokers(client))


async def ensure(client: Any, name: str, partitions: int, config: dict[str, str], timeout_s: float) -> None:
    """Does the work of `ensure_topic` with an open admin client."""
    from aiokafka.admin import NewTopic

    wanted = NewTopic(name, num_partitions=partitions, replication_factor=REPLICAS, topic_configs=config)

    async def refused() -> str:
        answer = await client.create_topics([wanted], timeout_ms=int(timeout_s * 1000))
        code, text = answer.topic_errors[0][1:3]
        if code in _FINAL:
            raise StackError(f"topic {name}: must be creatable, got Kafka error {code} ({text}); correct the request")
        return "" if code in {_OK, _EXISTS} else f"Kafka error {code} ({text})"

    # Right after a start or an election, fewer than three brokers take replicas.
    await _until(refused, timeout_s, f"topic {name}: must be creatable")

    async def short() -> str:
        for broker, topic in (await _seen_by_each(client, name)).items():
            if topic["error_code"] or not topic["partitions"]:
                return f"broker {broker} does not know it yet"
            if len(topic["partitions"]) != partitions:
                found = len(topic["partitions"])
                raise StackError(
                    f"topic {name}: must have {partitions} partitions, got {found}; delete it or use another name"
                )
            behind = sorted(part["partition"] for part in topic["partitions"] if len(part["isr"]) < REPLICAS)
            if behind:
                return f"fewer in partitions {behind}"
        return ""

    await _until(short, timeout_s, f"topic {name}: {REPLICAS} replicas must be in sync")


async def delete(client: Any, name: str, timeout_s: float) -> None:
    """Does the work of `delete_topic` with an open admin client."""
    answer = await client.delete_topics([name], timeout_ms=int(timeout_s * 1000))
    for error in answer.topic_error_codes:
        if error[1] not in {_OK, _UNKNOWN}:
            raise StackError(f"topic {name}: must be removable, got Kafka error {error[1]}; see `sentra status`")

    async def left() -> str:
        seen = await _seen_by_each(client, name)
        there = sorted(broker for broker, topic in seen.items() if topic["error_code"] != _UNKNOWN)
        return f"brokers {there} still have it" if there else ""

    await _until(left, timeout_s, f"topic {name}: must be gone")


def _brokers(client: Any) -> list[int]:
    """Returns the brokers known since the client connected; the admin client itself offers only to ask a random one."""
    return sorted(broker.nodeId for broker in client._client.cluster.brokers())


async def _seen_by_each(client: Any, name: str) -> dict[int, Any]:
    """Returns what each broker knows of a topic: they learn of a change one after another, and clients ask any."""
    from aiokafka.protocol.metadata import MetadataRequest

    answers = {broker: await client._client.send(broker, MetadataRequest([name])) for broker in _brokers(client)}
    return {broker: answer.to_object()["topics"][0] for broker, answer in answers.items()}


async def _until(remaining: Callable[[], Awaitable[str]], timeout_s: float, rule: str) -> None:
    deadline = time.monotonic() + timeout_s
    while reason := await remaining():
        if time.monotonic() > deadline:
            raise StackError(f"{rule}, got after {timeout_s:g} s: {reason}; `sentra status` tells who is down")
        await asyncio.sleep(0.05)

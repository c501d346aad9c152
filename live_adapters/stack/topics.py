"""Topics of the local cluster: made, seen whole, and removed.

These functions block; inside an event loop call them through `asyncio.to_thread`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from sentra_sim.errors import StackError

REPLICAS = 3
_EXISTS, _UNKNOWN = 36, 3  # error codes of the Kafka protocol
_T = TypeVar("_T")


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
    _with_admin(bootstrap, lambda admin: _ensure(admin, name, partitions, config or {}, timeout_s))


def delete_topic(bootstrap: str, name: str, *, timeout_s: float = 30.0) -> None:
    """Removes a topic with its data, if it is there, and waits until it is gone.

    Raises:
        StackError: the brokers cannot be reached, or the topic stays.
    """
    _with_admin(bootstrap, lambda admin: _delete(admin, name, timeout_s))


def recreate_topic(bootstrap: str, name: str, partitions: int, *, timeout_s: float = 30.0) -> None:
    """Gives a run an empty topic: removes the old one, makes it anew, waits until all replicas are in sync.

    Raises:
        StackError: as in `ensure_topic` and `delete_topic`.
    """

    async def both(admin: Any) -> None:
        await _delete(admin, name, timeout_s)
        await _ensure(admin, name, partitions, {}, timeout_s)

    _with_admin(bootstrap, both)


async def brokers_seen(bootstrap: str) -> set[int]:
    """Returns the node ids of the brokers that the cluster itself knows as live."""
    async with _admin(bootstrap) as admin:
        found = await admin.describe_cluster()
        return {broker["node_id"] for broker in found["brokers"]}


async def check_topic_cycle(bootstrap: str, name: str, timeout_s: float) -> None:
    """Proves that topics can be made with all replicas in sync, and removed."""
    async with _admin(bootstrap) as admin:
        await _ensure(admin, name, 1, {}, timeout_s)
        await _delete(admin, name, timeout_s)


@asynccontextmanager
async def _admin(bootstrap: str) -> AsyncIterator[Any]:
    from aiokafka.admin import AIOKafkaAdminClient

    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it reports each refused connection
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap.split(","), request_timeout_ms=5000)
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


def _with_admin(bootstrap: str, work: Callable[[Any], Awaitable[_T]]) -> _T:
    from aiokafka.errors import KafkaError

    async def connected() -> _T:
        async with _admin(bootstrap) as admin:
            return await work(admin)

    try:
        return asyncio.run(connected())
    except (KafkaError, OSError) as error:
        raise StackError(
            f"kafka {bootstrap}: must answer, got {error}; `sentra status` tells which broker is down"
        ) from error


async def _ensure(admin: Any, name: str, partitions: int, config: dict[str, str], timeout_s: float) -> None:
    from aiokafka.admin import NewTopic

    wanted = NewTopic(name, num_partitions=partitions, replication_factor=REPLICAS, topic_configs=config)
    answer = await admin.create_topics([wanted], timeout_ms=int(timeout_s * 1000))
    for error in answer.topic_errors:
        if error[1] not in {0, _EXISTS}:
            raise StackError(
                f"topic {name}: must be creatable, got Kafka error {error[1]} ({error[2]}); see `sentra status`"
            )

    async def replicas() -> str:
        topic = (await admin.describe_topics([name]))[0]
        if topic["error_code"] or not topic["partitions"]:
            return "not known to every broker yet"
        short = [part["partition"] for part in topic["partitions"] if len(part["isr"]) < REPLICAS]
        return f"partitions {short} have fewer" if short else ""

    await _until(replicas, timeout_s, f"topic {name}: {REPLICAS} replicas must be in sync")
    found = len((await admin.describe_topics([name]))[0]["partitions"])
    if found != partitions:
        raise StackError(f"topic {name}: must have {partitions} partitions, got {found}; delete it or use another name")


async def _delete(admin: Any, name: str, timeout_s: float) -> None:
    answer = await admin.delete_topics([name], timeout_ms=int(timeout_s * 1000))
    for error in answer.topic_error_codes:
        if error[1] not in {0, _UNKNOWN}:
            raise StackError(f"topic {name}: must be removable, got Kafka error {error[1]}; see `sentra status`")

    async def gone() -> str:
        topic = (await admin.describe_topics([name]))[0]
        return "" if topic["error_code"] == _UNKNOWN else "still there"

    await _until(gone, timeout_s, f"topic {name}: must be removed")


async def _until(check: Callable[[], Awaitable[str]], timeout_s: float, rule: str) -> None:
    deadline = time.monotonic() + timeout_s
    while reason := await check():
        if time.monotonic() > deadline:
            raise StackError(f"{rule}, got after {timeout_s:g} s: {reason}; `sentra status` tells which broker is down")
        await asyncio.sleep(0.05)

"""Whether each component answers, asked the way a client asks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from importlib.metadata import version

from live_adapters.stack import _kafka, topics
from live_adapters.stack._endpoints import Endpoints
from live_adapters.stack._jars import KAFKA_VERSION
from live_adapters.stack.network import PROXY, Network

Probe = Callable[[], Awaitable[str]]
"""Returns the component's version, or raises while it does not answer."""


class NotReadyError(Exception):
    """A component answers, but not yet as it must; the text says how."""


def probes(endpoints: Endpoints) -> dict[str, Probe]:
    """Returns one probe per component."""
    found: dict[str, Probe] = {
        "postgres": lambda: postgres(endpoints),
        "redis": lambda: redis(endpoints),
        "clickhouse": lambda: clickhouse(endpoints),
    }
    for node, address in zip(_kafka.BROKERS, endpoints.kafka.split(","), strict=True):
        found[_kafka.broker_name(node)] = _broker_probe(address, node)
    if endpoints.proxy:
        network = Network(endpoints.proxy.port)
        found[PROXY] = lambda: proxy(network)
    return found


def _broker_probe(address: str, node: int) -> Probe:
    return lambda: broker(address, node)


async def postgres(endpoints: Endpoints) -> str:
    """Asks PostgreSQL for its version, through its Unix socket and TCP."""
    import asyncpg

    for dsn in (endpoints.postgres_socket_dsn, endpoints.postgres_dsn):
        connection = await asyncpg.connect(dsn, timeout=5)
        try:
            version = str(await connection.fetchval("SHOW server_version"))
        finally:
            await connection.close(timeout=5)
    return version.split(maxsplit=1)[0]


async def redis(endpoints: Endpoints) -> str:
    """Asks Redis for its version."""
    reader, writer = await asyncio.open_connection(endpoints.redis.host, endpoints.redis.port)
    try:
        writer.write(b"INFO server\r\n")
        size = await reader.readline()
        if not size.startswith(b"$"):
            raise NotReadyError(size.decode().strip())
        text = (await reader.readexactly(int(size[1:]))).decode()
    finally:
        writer.close()
    return next(line.partition(":")[2] for line in text.splitlines() if line.startswith("redis_version:"))


async def clickhouse(endpoints: Endpoints) -> str:
    """Asks the ClickHouse engine for its version."""
    reader, writer = await asyncio.open_connection(endpoints.clickhouse.host, endpoints.clickhouse.port)
    try:
        writer.write(json.dumps({"query": "SELECT version()"}).encode() + b"\n")
        answer = json.loads(await reader.readline())
    finally:
        writer.close()
    if "error" in answer:
        raise NotReadyError(answer["error"])
    return str(answer["rows"][0][0])


async def proxy(network: Network) -> str:
    """Asks the proxy whether all its ways are open: a campaign that was killed leaves some cut."""
    if harmed := await asyncio.to_thread(network.harmed):
        raise ConnectionError(f"{', '.join(harmed)} not as they must be")
    return version("sentra-lab")


async def broker(address: str, node: int) -> str:
    """Asks a broker whether it and its two peers are live members of the cluster."""
    host, port = address.rsplit(":", 1)
    _, writer = await asyncio.open_connection(host, int(port))  # cheaper to be refused than an admin client
    writer.close()
    seen = await topics.brokers_seen(address)
    if missing := set(_kafka.BROKERS) - seen:
        raise NotReadyError(f"broker {node} does not see broker {', '.join(map(str, sorted(missing)))} yet")
    return KAFKA_VERSION

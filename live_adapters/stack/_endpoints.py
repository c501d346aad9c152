"""Where clients of a running stack connect."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from live_adapters.stack import _kafka, _stores
from live_adapters.stack._state import State
from live_adapters.stack.network import PROXY

COMPONENTS = (*(_kafka.broker_name(node) for node in _kafka.BROKERS), "postgres", "redis", "clickhouse")
ALL_COMPONENTS = (PROXY, *COMPONENTS)


def components_of(state: State) -> tuple[str, ...]:
    """Returns the names of a stack's components in the order in which they start."""
    return ALL_COMPONENTS if PROXY in state.ports else COMPONENTS


@dataclass(frozen=True)
class Address:
    """A TCP address on the loopback interface."""

    host: str
    port: int


@dataclass(frozen=True)
class Endpoints:
    """A running stack's addresses.

    Attributes:
        stack_id: Of this stack; another after `down` and `up`.
        kafka: Bootstrap string, `host:port,host:port,host:port`; the proxy's ports when the stack is proxied.
        postgres_dsn: For asyncpg, through TCP; carries the password.
        postgres_socket_dsn: The same through the Unix socket, which costs less CPU.
        postgres: Its TCP address; user `postgres_user`, database `postgres_database`.
        redis: Redis' TCP address; no password.
        redis_socket: Redis' Unix socket, which costs less CPU.
        clickhouse: The ClickHouse engine's server; its protocol is in `live_adapters.stack.clickhouse`.
        pids: By component: `kafka-1` to `kafka-3`, `postgres`, `redis`, `clickhouse`, and `proxy` of a proxied stack.
        versions: By component.
        proxy: Its REST interface; None when the stack is not proxied. `Network` speaks to it.
    """

    stack_id: str
    kafka: str
    postgres_dsn: str
    postgres_socket_dsn: str
    postgres: Address
    postgres_user: str
    postgres_database: str
    redis: Address
    redis_socket: Path
    clickhouse: Address
    pids: dict[str, int]
    versions: dict[str, str]
    proxy: Address | None = None


@dataclass(frozen=True)
class Component:
    """One component's condition, as `status` tells it.

    Attributes:
        name: The component's.
        pid: Of its process; None when it was never started.
        port: Its port on 127.0.0.1.
        alive: Its process runs.
        version: What it said of itself when it became ready; empty before.
        detail: One line for people.
    """

    name: str
    pid: int | None
    port: int
    alive: bool
    version: str
    detail: str


def endpoints_of(home: Path, state: State) -> Endpoints:
    """Returns the addresses of a stack whose processes are all known."""
    addresses = {name: Address("127.0.0.1", port) for name, port in state.ports.items()}
    login = f"{_stores.POSTGRES_USER}:{quote(state.password)}"
    port = state.ports["postgres"]
    told = _kafka.clients_name if PROXY in state.ports else _kafka.broker_name
    sockets = quote(str(_stores.postgres_sockets(home)), safe="")
    return Endpoints(
        stack_id=state.id,
        kafka=",".join(f"127.0.0.1:{state.ports[told(node)]}" for node in _kafka.BROKERS),
        postgres_dsn=f"postgresql://{login}@127.0.0.1:{port}/{_stores.POSTGRES_DATABASE}",
        postgres_socket_dsn=f"postgresql://{login}@/{_stores.POSTGRES_DATABASE}?host={sockets}&port={port}",
        postgres=addresses["postgres"],
        postgres_user=_stores.POSTGRES_USER,
        postgres_database=_stores.POSTGRES_DATABASE,
        redis=addresses["redis"],
        redis_socket=_stores.redis_socket(home),
        clickhouse=addresses["clickhouse"],
        pids={name: process.pid for name, process in state.processes.items()},
        versions={name: process.version for name, process in state.processes.items()},
        proxy=addresses.get(PROXY),
    )

"""The local stack: three Kafka brokers, PostgreSQL, Redis and the ClickHouse engine as processes of this machine.

Everything listens on the loopback interface alone. It is a laboratory for one person's machine: whoever can log in to the
machine can reach Kafka, Redis and the ClickHouse engine.

Example:
    >>> from live_adapters import stack
    >>> running = stack.up(print)  # doctest: +SKIP
    >>> stack.ensure_topic(running.kafka, "events", 6)  # doctest: +SKIP
    >>> stack.down()  # doctest: +SKIP
    ['kafka-1', 'kafka-2', 'kafka-3', 'postgres', 'redis', 'clickhouse']
"""

from live_adapters.stack._endpoints import Address, Component, Endpoints
from live_adapters.stack._lifecycle import down, endpoints, is_proxied, status, up
from live_adapters.stack._restart import restart
from live_adapters.stack.network import PROXY, Network
from live_adapters.stack.topics import delete_topic, ensure_topic, recreate_topic

__all__ = [
    "PROXY",
    "Address",
    "Component",
    "Endpoints",
    "Network",
    "delete_topic",
    "down",
    "endpoints",
    "ensure_topic",
    "is_proxied",
    "recreate_topic",
    "restart",
    "status",
    "up",
]

"""Which node is the active controller: the one question to KRaft that the client library cannot ask.

`DescribeQuorum` (key 55, version 0) in Kafka's binary protocol; any broker passes it on. Clients' metadata names some broker
as the controller, not the active one.
"""

from __future__ import annotations

import asyncio
import struct

from sentra_sim.errors import PlantError

DESCRIBE_QUORUM, VERSION = 55, 0
TOPIC = b"__cluster_metadata"
ANSWER_S = 2.0


async def active_controller(bootstrap: str) -> int:
    """Returns the node id of the active controller.

    Raises:
        PlantError: no broker tells.
    """
    for address in bootstrap.split(","):
        host, port = address.rsplit(":", 1)
        try:
            return await asyncio.wait_for(_ask(host, int(port)), ANSWER_S)
        except (OSError, EOFError, TimeoutError, ValueError):
            continue
    raise PlantError(f"kafka {bootstrap}: must tell the active controller, got no answer; see `sentra status`")


def quorum_request() -> bytes:
    """Returns the request with its length in front; compact arrays and strings carry their length plus one."""
    header = struct.pack(">hhih", DESCRIBE_QUORUM, VERSION, 1, -1) + b"\0"
    partition = struct.pack(">i", 0) + b"\0"
    body = b"\2" + bytes([len(TOPIC) + 1]) + TOPIC + b"\2" + partition + b"\0" + b"\0"
    return struct.pack(">i", len(header) + len(body)) + header + body


def leader_in(answer: bytes) -> int:
    """Reads the leader's node id out of an answer, whose length is cut off.

    Raises:
        ValueError: the answer is an error, or knows no leader.
    """
    _, _, error = struct.unpack_from(">ibh", answer)
    partition = 7 + 1 + 1 + len(TOPIC) + 1
    if error or len(answer) < partition + 10:
        raise ValueError(f"Kafka error {error}")
    _, partition_error, leader = struct.unpack_from(">ihi", answer, partition)
    if partition_error or leader < 0:
        raise ValueError(f"Kafka error {partition_error}, leader {leader}")
    return int(leader)


async def _ask(host: str, port: int) -> int:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(quorum_request())
        (size,) = struct.unpack(">i", await reader.readexactly(4))
        return leader_in(await reader.readexactly(size))
    finally:
        writer.close()

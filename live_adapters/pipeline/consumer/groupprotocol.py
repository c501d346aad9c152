"""The two requests of a consumer group member as brokers since Kafka 4.0 take them (KIP-848), which aiokafka lacks.

The coordinator assigns the partitions; a member tells what it owns, and gives up what it is not meant to own any more. Formats:
`ConsumerGroupHeartbeatRequest.json` and `OffsetCommitRequest.json` of Kafka's sources.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any

from aiokafka.errors import IncompatibleBrokerVersion
from aiokafka.protocol.api import RequestStruct, Response
from aiokafka.protocol.types import (
    CompactArray,
    CompactString,
    Int8,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
)

JOIN_EPOCH, LEAVE_EPOCH = 0, -1
UUID_BYTES = 16


class Uuid:
    """A topic's id, as it comes."""

    @classmethod
    def encode(cls, value: bytes) -> bytes:
        """Returns the 16 bytes."""
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        """Reads 16 bytes."""
        return data.read(UUID_BYTES)

    @classmethod
    def repr(cls, value: bytes) -> str:
        """Returns what a log shows."""
        return value.hex()


class Nullable:
    """A structure that may be missing: a byte tells."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema

    def encode(self, value: Any) -> bytes:
        """Encodes a value or None."""
        return b"\xff" if value is None else b"\x01" + bytes(self._schema.encode(value))

    def decode(self, data: BytesIO) -> Any:
        """Returns the value or None."""
        return None if Int8.decode(data) < 0 else self._schema.decode(data)

    def repr(self, value: Any) -> str:
        """Returns what a log shows."""
        return "NULL" if value is None else str(self._schema.repr(value))


TEXT = CompactString("utf-8")
TOPIC_PARTITIONS = CompactArray(("topic_id", Uuid), ("partitions", CompactArray(Int32)), ("tags", TaggedFields))


class _Prepared(RequestStruct):  # type: ignore[misc]
    """A request of one version."""

    FLEXIBLE_VERSION = True
    API_KEY = -1
    API_VERSION = -1
    RESPONSE_TYPE = Response
    SCHEMA = Schema()

    def prepare(self, versions: dict[int, tuple[int, int]]) -> _Prepared:
        """Returns the request, as aiokafka's client asks for it; raises IncompatibleBrokerVersion for brokers that lack it."""
        lowest, highest = versions.get(self.API_KEY, (0, -1))
        if not lowest <= self.API_VERSION <= highest:
            raise IncompatibleBrokerVersion(
                f"{type(self).__name__} v{self.API_VERSION} needs brokers of Kafka 4.0 or later"
            )
        return self


class HeartbeatResponse(Response):  # type: ignore[misc]
    """The member's epoch and, when it has changed or was asked for, what the member is meant to own."""

    API_KEY = 68
    API_VERSION = 1
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        ("error_message", TEXT),
        ("member_id", TEXT),
        ("member_epoch", Int32),
        ("heartbeat_interval_ms", Int32),
        ("assignment", Nullable(Schema(("topic_partitions", TOPIC_PARTITIONS), ("tags", TaggedFields)))),
        ("tags", TaggedFields),
    )


class HeartbeatRequest(_Prepared):
    """Joins with epoch 0, leaves with -1, else says that the member lives; None stands for "as before"."""

    API_KEY = 68
    API_VERSION = 1
    RESPONSE_TYPE = HeartbeatResponse
    SCHEMA = Schema(
        ("group_id", TEXT),
        ("member_id", TEXT),
        ("member_epoch", Int32),
        ("instance_id", TEXT),
        ("rack_id", TEXT),
        ("rebalance_timeout_ms", Int32),
        ("subscribed_topic_names", CompactArray(TEXT)),
        ("subscribed_topic_regex", TEXT),
        ("server_assignor", TEXT),
        ("topic_partitions", TOPIC_PARTITIONS),
        ("tags", TaggedFields),
    )


class CommitResponse(Response):  # type: ignore[misc]
    """An error code by partition."""

    API_KEY = 8
    API_VERSION = 9
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            CompactArray(
                ("name", TEXT),
                ("partitions", CompactArray(("index", Int32), ("error_code", Int16), ("tags", TaggedFields))),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class CommitRequest(_Prepared):
    """Tells the coordinator how far partitions are, for those who look at a group's lag."""

    API_KEY = 8
    API_VERSION = 9
    RESPONSE_TYPE = CommitResponse
    SCHEMA = Schema(
        ("group_id", TEXT),
        ("member_epoch", Int32),
        ("member_id", TEXT),
        ("instance_id", TEXT),
        (
            "topics",
            CompactArray(
                ("name", TEXT),
                (
                    "partitions",
                    CompactArray(
                        ("index", Int32),
                        ("offset", Int64),
                        ("leader_epoch", Int32),
                        ("metadata", TEXT),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )

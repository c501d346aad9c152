"""What no honest client sends: refused with its reason, counted, and without any effect.

`SENTRA_FUZZ=N` sends N malformed messages and a tenth as many requests; `make fuzz` shows the counts.
"""

import contextlib
import os
import random
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.message import DecodeError

from live_adapters import stack as local_stack
from live_adapters.pipeline import events_pb2
from live_adapters.pipeline.codec import EventArray, blank_events, encode_ingest
from live_adapters.pipeline.config import RunConfig
from live_adapters.pipeline.ingress.rules import GatewayRules
from tests.live.gateway_client import (
    ANSWER_S,
    LIMIT_BYTES,
    TENANTS,
    answers,
    exchange,
    gateway,
    in_kafka,
    metric,
    orders,
    rest,
    summary,
)

pytestmark = pytest.mark.live

MESSAGES = int(os.environ.get("SENTRA_FUZZ", "10000"))
REQUESTS = MESSAGES // 10
A_STREAM = 5_000  # messages
REQUIRED = ("sequence", "intended_ns", "tenant", "key", "quantity", "limit_price", "session")


def test_malformed_messages_have_no_effect_and_each_its_reason(stack: local_stack.Endpoints, tmp_path: Path) -> None:
    rules = GatewayRules(max_message_bytes=LIMIT_BYTES, max_attribute_bytes=20)
    with gateway(stack, tmp_path, rules) as run:
        wanted, messages = zip(*malformed_messages(MESSAGES, random.Random(20)), strict=True)
        streams = (messages[start : start + A_STREAM] for start in range(0, MESSAGES, A_STREAM))
        acks = [ack for stream in streams for ack in answers(run.config, stream)]
        assert len(acks) == MESSAGES
        told = [next(iter(ack.refused_by_reason)) for ack in acks]
        assert [(n, a, b) for n, (a, b) in enumerate(zip(wanted, told, strict=True)) if a != b] == []
        assert all(ack.acked_events == 0 and ack.code == 3 for ack in acks)
        whole = Counter(reason for reason, ack in zip(wanted, acks, strict=True) if ack.detail)
        for reason in ("malformed", "missing_field", "size"):
            assert metric(run.config, "refused_messages_total", reason=reason) == whole[reason] > MESSAGES // 20
        for reason in ("sequence", "not_finite", "time", "unknown_tenant"):
            counted = metric(run.config, "refused_events_total", reason=reason)
            assert counted == Counter(wanted)[reason] > MESSAGES // 20

        # The other method ends a stream at the first of them.
        for message in messages[:50]:
            with contextlib.suppress(grpc.RpcError):
                assert summary(run.config, [message]).acked_events == 0
        leave_in_the_middle(run.config, random.Random(21))
        assert in_kafka(run.config) == []  # so there is nothing that could take effect in a store
        assert rest(run.config, "GET", "/ready")[0] == 200
        assert summary(run.config, [encode_ingest(orders(5))]).acked_events == 5
        print(f"\n{MESSAGES:,} messages refused, 0 records: {dict(Counter(told).most_common())}")


def test_malformed_requests_change_nothing_and_are_counted(stack: local_stack.Endpoints, tmp_path: Path) -> None:
    with gateway(stack, tmp_path, GatewayRules(chaos=True), pricing=True) as run:
        seen: Counter[str] = Counter()
        for kind, data in malformed_requests(REQUESTS, random.Random(22)):
            assert (
                status_of(run.config, data)
                == {"body": 400, "malformed_http": 400, "not_found": 404, "method": 405}[kind]
            )
            seen[kind] += 1
        assert min(seen.values()) > REQUESTS // 10
        for kind, count in seen.items():
            assert metric(run.config, "refused_rest_requests_total", reason=kind) == count
        assert rest(run.config, "GET", "/ready")[0] == 200
        assert rest(run.config, "GET", "/release-weights")[1] == {"stable": 1.0}
        assert rest(run.config, "GET", "/chaos")[1] == {"refuse": False, "delay_s": 0.0}
        print(f"\n{REQUESTS:,} requests refused: {dict(seen.most_common())}")


def leave_in_the_middle(config: RunConfig, rng: random.Random) -> None:
    """Peers that speak something else or leave within a handshake, and streams cut within a message or between two."""
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    settings = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
    for _ in range(20):
        for begun in (preface[: rng.randrange(25)] + rng.randbytes(200), preface + settings + rng.randbytes(7)):
            with socket.create_connection((config.host, config.gateway_port), timeout=ANSWER_S) as raw:
                raw.sendall(begun)
    for _ in range(20):
        call, channel = exchange(config, [b"\x07"] * rng.randrange(1, 50))
        with channel:
            assert next(call).code == 3
            call.cancel()


def malformed_messages(count: int, rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """Yields messages of one event, each with the reason that it deserves."""

    def event(**changes: Any) -> EventArray:
        one = orders(1, rng.randrange(1, 2**40))
        for name, value in changes.items():
            one[name] = value
        return one

    for _ in range(count):
        kind = rng.randrange(9)
        if kind == 0:
            whole = encode_ingest(event())
            yield "malformed", whole[: rng.randrange(1, len(whole))]
        elif kind == 1:
            yield "malformed", b"\x07" + rng.randbytes(rng.randrange(1, 300))  # a wire type that there is not
        elif kind == 2:
            lacking = events_pb2.IngestRequest.FromString(encode_ingest(event()))
            lacking.events[0].ClearField(rng.choice(REQUIRED))
            yield "missing_field", lacking.SerializeToString()
        elif kind == 3:
            yield mutated_message(encode_ingest(event()), rng)
        elif kind == 4:
            yield "size", rng.randbytes(rng.randrange(LIMIT_BYTES + 1, 2 * LIMIT_BYTES))
        elif kind == 5:
            yield "size", encode_ingest(blank_events(1, rng.randrange(83, 128)))
        elif kind == 6:
            yield (
                "not_finite",
                encode_ingest(event(**{rng.choice(REQUIRED[4:6]): rng.choice((np.nan, np.inf, -np.inf))})),
            )
        elif kind == 7:
            yield "unknown_tenant", encode_ingest(event(tenant=rng.randrange(TENANTS, 2**32)))
        else:
            field, value = rng.choice((("sequence", 0), ("intended_ns", -rng.randrange(1, 2**62))))
            yield {"sequence": "sequence", "intended_ns": "time"}[field], encode_ingest(event(**{field: value}))


def mutated_message(good: bytes, rng: random.Random) -> tuple[str, bytes]:
    """Changes bytes of a message's framing until it is none; returns why, as protobuf itself sees it, and the message."""
    framing = [0, 1, *(2 + place for place in (0, 9, 18, 23, 28, 37, 46, 55, 60, 61))]  # tags and lengths
    while True:
        message = bytearray(good)
        for place in rng.sample(framing, rng.randrange(1, 4)):
            message[place] = rng.randrange(256)
        if reason := verdict(bytes(message)):
            return reason, bytes(message)


def verdict(message: bytes) -> str | None:
    try:
        request = events_pb2.IngestRequest.FromString(message)
    except DecodeError:
        return "malformed"
    if not request.events:
        return None if request.HasField("request_id") else "malformed"
    if not all(len(event.attributes) in (0, *range(2, 66)) for event in request.events):
        return "size"
    return None if all(event.HasField(name) for event in request.events for name in REQUIRED) else "missing_field"


def malformed_requests(count: int, rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """Yields raw HTTP requests, each with the reason that it deserves."""
    bodies = (
        b"",
        b"{",
        b"[1",
        b"null",
        b"\xff\xfe",
        b"[" * 60_000,
        b'{"stable": NaN}',
        b'{"stable": 1e999}',
        b'{"a": 0.2}',
    )
    for _ in range(count):
        kind = rng.randrange(4)
        if kind == 0:
            body = rng.choice((*bodies, rng.randbytes(rng.randrange(1, 200))))
            yield "body", http_request("PUT", rng.choice(("/release-weights",)), body)
        elif kind == 1:
            yield "not_found", http_request("GET", "/" + "".join(rng.choices("abcxyz%20./", k=rng.randrange(1, 40))))
        elif kind == 2:
            yield (
                "method",
                http_request(rng.choice(("DELETE", "PATCH", "POST", "FOO")), rng.choice(("/health", "/chaos"))),
            )
        else:
            yield (
                "malformed_http",
                rng.choice(
                    (
                        rng.randbytes(rng.randrange(1, 80)).replace(b"\n", b"") + b"\r\n\r\n",
                        b"PUT /chaos HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -5\r\n\r\n",
                        b"PUT /chaos HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999999\r\n\r\n",
                        b"PUT /chaos HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
                        b"GET /health HTTP/9.9.9\r\n\r\n",
                    )
                ),
            )


def http_request(method: str, path: str, body: bytes = b"") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def status_of(config: RunConfig, data: bytes) -> int:
    with socket.create_connection((config.host, config.gateway_control_port), timeout=ANSWER_S) as raw:
        raw.sendall(data)
        return int(raw.makefile("rb").readline().split(b" ")[1])

"""The gateway under its rules, as clients see it: an answer for each message, refusals with reasons, and a drain that loses nothing."""

import asyncio
import contextlib
import http.client
import json
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from google.protobuf.message import DecodeError

from live_adapters import stack as local_stack
from live_adapters.load import offer
from live_adapters.measurable import choose_ports
from live_adapters.pipeline import events_pb2
from live_adapters.pipeline.codec import EventArray, blank_events, encode_ingest
from live_adapters.pipeline.config import RunConfig, configure
from live_adapters.pipeline.ingress.control import ROUTES
from live_adapters.pipeline.ingress.ingesttokens import METADATA_KEY, make_token
from live_adapters.pipeline.ingress.rules import GatewayRules, Quota
from live_adapters.pipeline.supervisor import Supervisor
from sentra_sim.scenario import load_scenario, with_load

pytestmark = pytest.mark.live

SCENARIO = with_load(load_scenario(Path(__file__).parents[2] / "data" / "scenarios" / "sentra.yaml"), rate_eps=2_000.0)
TENANTS = SCENARIO.load.tenants
TOPIC = "gateway-rules"
ANSWER_S = 30.0
LIMIT_BYTES = 8_192
REQUIRED = ("sequence", "intended_ns", "tenant", "key", "quantity", "limit_price", "session")


@dataclass
class Running:
    config: RunConfig
    supervisor: Supervisor

    def until_ended(self) -> None:
        """Waits for an end with exit code 0 that the gateway was asked for by REST."""
        until(lambda: self.supervisor.ended("gateway"))
        self.supervisor.stop("gateway")


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + ANSWER_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@contextmanager
def gateway(stack: local_stack.Endpoints, scratch: Path, rules: GatewayRules) -> Iterator[Running]:
    config = configure(SCENARIO, stack, choose_ports(), scratch, topic=TOPIC, gateway_rules=rules)
    local_stack.recreate_topic(stack.kafka, TOPIC, config.partitions)
    try:
        with Supervisor(scratch, config.file) as supervisor:
            supervisor.start({"gateway": "live_adapters.pipeline.gateway"})
            supervisor.expect_end("gateway")
            yield Running(config, supervisor)
    finally:
        local_stack.delete_topic(stack.kafka, TOPIC)


def orders(count: int, first: int = 1, *, session: int = 1, tenant: int | None = None) -> EventArray:
    events = blank_events(count, 64)
    events["sequence"] = np.arange(first, first + count)
    events["tenant"] = np.arange(count) % TENANTS if tenant is None else tenant
    events["key"] = np.arange(first, first + count) * 7
    events["quantity"], events["limit_price"], events["session"] = 1.0, 100.0, session
    return events


def exchange(config: RunConfig, messages: Any, metadata: Any = ()) -> Any:
    """Opens a stream; returns the call, which yields the acknowledgements, and the channel to close."""
    channel = grpc.insecure_channel(
        f"{config.host}:{config.gateway_port}", options=[("grpc.max_send_message_length", -1)]
    )
    method = channel.stream_stream("/sentra.v1.Ingest/Exchange", response_deserializer=events_pb2.IngestAck.FromString)
    return method(iter(messages), metadata=metadata, timeout=ANSWER_S), channel


def answers(config: RunConfig, messages: Any, metadata: Any = ()) -> list[events_pb2.IngestAck]:
    call, channel = exchange(config, messages, metadata)
    with channel:
        return list(call)


def summary(config: RunConfig, messages: Any, metadata: Any = ()) -> events_pb2.IngestSummary:
    with grpc.insecure_channel(f"{config.host}:{config.gateway_port}") as channel:
        method = channel.stream_unary(
            "/sentra.v1.Ingest/Stream", response_deserializer=events_pb2.IngestSummary.FromString
        )
        return method(iter(messages), metadata=metadata, timeout=ANSWER_S)


def rest(config: RunConfig, method: str, path: str, body: Any = None, headers: Any = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(config.host, config.gateway_control_port, timeout=ANSWER_S)
    try:
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(method, path, data, headers or {})
        answer = connection.getresponse()
        content = answer.read()
        is_json = "json" in answer.headers.get("Content-Type", "")
        return answer.status, json.loads(content) if is_json and content else content.decode()
    finally:
        connection.close()


def metric(config: RunConfig, name: str, **labels: str) -> int:
    inside = ",".join(f'{key}="{value}"' for key, value in labels.items())
    wanted = f"sentra_gateway_{name}{{{inside}}} " if inside else f"sentra_gateway_{name} "
    text = rest(config, "GET", "/metrics")[1]
    return sum(int(line.removeprefix(wanted)) for line in text.splitlines() if line.startswith(wanted))


def in_kafka(config: RunConfig) -> list[tuple[int, int]]:
    """Session and sequence of every record of the topic, sorted."""

    async def read() -> list[tuple[int, int]]:
        consumer = AIOKafkaConsumer(bootstrap_servers=config.kafka, auto_offset_reset="earliest")
        await consumer.start()
        try:
            partitions = [TopicPartition(TOPIC, number) for number in range(config.partitions)]
            consumer.assign(partitions)
            left = sum((await consumer.end_offsets(partitions)).values())
            found: list[tuple[int, int]] = []
            while len(found) < left:
                polled = await asyncio.wait_for(consumer.getmany(timeout_ms=1_000), ANSWER_S)
                values = [events_pb2.Event.FromString(r.value) for records in polled.values() for r in records]
                found += [(event.session, event.sequence) for event in values]
            return sorted(found)
        finally:
            await consumer.stop()

    return asyncio.run(read())


def test_each_message_is_answered_in_order_once_kafka_has_it(stack: local_stack.Endpoints, tmp_path: Path) -> None:
    with gateway(stack, tmp_path, GatewayRules()) as run:
        good = [encode_ingest(orders(40, 1 + 40 * n), request_id=1_000 + n) for n in range(20)]
        bad = orders(5, 801)
        bad["tenant"][1], bad["quantity"][3] = 99, np.nan
        acks = answers(run.config, [*good, b"\xff\xff", encode_ingest(bad), encode_ingest(orders(0), request_id=7)])
        assert [ack.message for ack in acks] == list(range(1, 24))
        assert [(ack.request_id, ack.acked_events, ack.code) for ack in acks[:20]] == [
            (1_000 + n, 40, 0) for n in range(20)
        ]
        malformed, partly, ping = acks[20:]
        assert dict(malformed.refused_by_reason) == {"malformed": 0}
        assert "must be a serialised sentra.v1.IngestRequest" in malformed.detail
        assert (malformed.code, malformed.HasField("request_id")) == (3, False)
        assert dict(partly.refused_by_reason) == {"unknown_tenant": 1, "not_finite": 1}
        assert (partly.acked_events, list(partly.refused_positions), partly.code) == (3, [1, 3], 3)
        assert (ping.request_id, ping.acked_events, ping.code) == (7, 0, 0)
        assert in_kafka(run.config) == [(1, n) for n in [*range(1, 802), 803, 805]]

        told = summary(run.config, [encode_ingest(bad)])
        assert dict(told.refused_by_reason) == {"unknown_tenant": 1, "not_finite": 1}
        assert (told.received_events, told.acked_events, told.refused_events) == (5, 3, 2)
        assert metric(run.config, "acked_events_total") == 806
        assert metric(run.config, "refused_tenant_events_total", tenant="unknown") == 2
        assert metric(run.config, "in_flight_events") == 0


def test_beyond_quota_and_room_a_client_is_told_when_to_come_again(
    stack: local_stack.Endpoints, tmp_path: Path
) -> None:
    rules = GatewayRules(
        max_in_flight_events=400,
        bronze=(1,),
        patience=10,
        retry_after_s=0.07,
        quotas=(Quota(2, rate_eps=0.01, burst_events=10),),
        token_secret="salt",
    )
    tokens = [(METADATA_KEY, make_token("salt", tenant)) for tenant in (0, 1, 2)]
    with gateway(stack, tmp_path, rules) as run:
        limited = orders(30, tenant=2, session=2)
        foreign = orders(2, 31, tenant=3, session=2)
        over, unshown, again = answers(
            run.config, [encode_ingest(limited), encode_ingest(foreign), encode_ingest(limited)], tokens
        )
        assert (over.acked_events, dict(over.refused_by_reason), over.code) == (10, {"quota": 20}, 8)
        assert list(over.refused_positions) == list(range(10, 30))
        assert over.retry_after_ms > 60_000
        assert dict(unshown.refused_by_reason) == {"token": 2}
        assert dict(again.refused_by_reason) == {"stale_sequence": 10, "quota": 20}

        # A burst without a pause: the lower class is turned away first, and a stream that does not listen is ended.
        call, channel = exchange(
            run.config,
            (encode_ingest(orders(100, 1 + 100 * n, tenant=n % 2, session=3)) for n in range(20_000)),
            tokens,
        )
        with channel:
            *acks, last = call
            assert dict(call.trailing_metadata())["retry-after-ms"] == "70"
        assert (last.message, last.code, last.retry_after_ms) == (0, 8, 70)
        assert {tuple(ack.refused_by_reason) for ack in acks} == {(), ("overload",)}
        assert {ack.retry_after_ms for ack in acks if ack.code == 8} == {70}
        # Tenant 0 sends the odd messages, tenant 1 the even ones.
        shed = [ack.message % 2 for ack in acks if ack.code == 8]
        assert shed[0] == 0
        taken = [first for first in range(1, 100 * len(acks), 100) if acks[first // 100].acked_events == 100]
        until(lambda: metric(run.config, "in_flight_events") == 0)
        assert [number for session, number in in_kafka(run.config) if session == 3] == [
            number for first in taken for number in range(first, first + 100)
        ]

        for metadata in ((), [(METADATA_KEY, "1.0")]):
            with pytest.raises(grpc.RpcError) as refused:
                answers(run.config, [encode_ingest(orders(1))], metadata)
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert metric(run.config, "refused_streams_total", reason="token") == 2

        # The load generator shows the tokens of all tenants; the one over its quota alone is refused.
        before = metric(run.config, "refused_tenant_events_total", tenant="2")
        told = offer(run.config, threading.Event())
        assert told.sent_events == told.received_events == told.acked_events + told.refused_events
        refused_of_it = metric(run.config, "refused_tenant_events_total", tenant="2") - before
        assert 0 < told.refused_events == refused_of_it < told.sent_events


def test_what_is_being_sent_while_the_gateway_drains_is_acknowledged_or_refused_never_lost(
    stack: local_stack.Endpoints, tmp_path: Path
) -> None:
    with gateway(stack, tmp_path, GatewayRules(drain_s=0.5)) as run:
        acked: dict[int, list[int]] = {2: [], 3: []}
        finished = threading.Event()
        flowing = {session: threading.Event() for session in acked}
        codes: dict[int, int] = {}

        def endless(session: int) -> Iterator[bytes]:
            number = 0
            while not finished.is_set():
                yield encode_ingest(orders(20, 1 + 20 * number, session=session), request_id=number)
                number += 1
                finished.wait(0.001)

        def client(session: int) -> None:
            call, channel = exchange(run.config, endless(session))
            with channel:
                for ack in call:
                    if not ack.message:
                        codes[session] = ack.code
                        return
                    assert ack.acked_events == 20
                    acked[session] += range(1 + 20 * ack.request_id, 21 + 20 * ack.request_id)
                    flowing[session].set()

        threads = [threading.Thread(target=client, args=(session,)) for session in acked]
        for thread in threads:
            thread.start()
        assert all(event.wait(ANSWER_S) for event in flowing.values())
        assert rest(run.config, "GET", "/ready")[0] == 200

        status, state = rest(run.config, "POST", "/drain")
        assert (status, state["ready"], state["draining"], state["open_streams"]) == (202, False, True, 2)
        assert rest(run.config, "GET", "/ready")[0] == 503
        with pytest.raises(grpc.RpcError) as refused:
            summary(run.config, [encode_ingest(orders(1))])
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        for thread in threads:
            thread.join(ANSWER_S)
        finished.set()
        run.until_ended()

        assert codes == dict.fromkeys(acked, 14)
        assert in_kafka(run.config) == [(session, number) for session in acked for number in acked[session]]
        counters = json.loads((tmp_path / "gateway.counters.json").read_text())
        assert counters["acked_events"] == sum(map(len, acked.values()))


def test_a_stream_that_ends_in_time_is_answered_after_sigterm(stack: local_stack.Endpoints, tmp_path: Path) -> None:
    with gateway(stack, tmp_path, GatewayRules()) as run:
        told: list[events_pb2.IngestSummary] = []
        last = threading.Event()

        def messages() -> Iterator[bytes]:
            yield encode_ingest(orders(50))
            last.wait(ANSWER_S)
            yield encode_ingest(orders(50, 51))

        thread = threading.Thread(target=lambda: told.append(summary(run.config, messages())))
        thread.start()
        until(lambda: metric(run.config, "received_events_total") == 50)
        stopping = threading.Thread(target=run.supervisor.stop, args=("gateway",))
        stopping.start()
        until(lambda: rest(run.config, "GET", "/ready")[0] == 503)
        last.set()
        thread.join(ANSWER_S)
        stopping.join(ANSWER_S)
        assert [one.acked_events for one in told] == [100]
        assert in_kafka(run.config) == [(1, number) for number in range(1, 101)]


def test_the_control_does_what_its_description_says(stack: local_stack.Endpoints, tmp_path: Path) -> None:
    with gateway(stack, tmp_path, GatewayRules(chaos=True)) as run:
        config = run.config
        assert rest(config, "GET", "/health") == (200, {"status": "ok"})
        described = rest(config, "GET", "/openapi.json")[1]["paths"]
        assert set(described) == set(ROUTES)
        for path, operations in described.items():
            for method in ("GET", "PUT", "POST", "DELETE", "PATCH"):
                if (method, path) == ("POST", "/drain"):  # last, it ends the gateway
                    continue
                status = rest(config, method, path, {})[0]
                assert str(status) in operations.get(method.lower(), {"responses": ["405"]})["responses"], (
                    method,
                    path,
                )

        assert rest(config, "PUT", "/release-weights", {"stable": 0.75, "canary": 0.25})[0] == 200
        assert rest(config, "PUT", "/release-weights", {"stable": 0.75})[0] == 400
        assert rest(config, "GET", "/release-weights") == (200, {"stable": 0.75, "canary": 0.25})

        assert rest(config, "PUT", "/chaos", {"refuse": True})[0] == 200
        (ack,) = answers(config, [encode_ingest(orders(3), request_id=1)])
        assert (ack.code, ack.request_id, dict(ack.refused_by_reason)) == (8, 1, {"chaos": 3})
        assert rest(config, "PUT", "/chaos", {"delay_s": 0.01}) == (200, {"refuse": False, "delay_s": 0.01})
        assert [ack.acked_events for ack in answers(config, [encode_ingest(orders(3))])] == [3]

        assert rest(config, "GET", "/health", headers={"Origin": "http://example.org"})[0] == 403
        assert rest(config, "GET", "/health", headers={"Host": "example.org"})[0] == 403
        assert rest(config, "POST", "/drain")[0] == 202
        run.until_ended()


def test_ten_thousand_malformed_messages_have_no_effect_and_each_its_reason(
    stack: local_stack.Endpoints, tmp_path: Path
) -> None:
    rules = GatewayRules(max_message_bytes=LIMIT_BYTES, max_attribute_bytes=20)
    with gateway(stack, tmp_path, rules) as run:
        wanted, messages = zip(*malformed_messages(10_000, random.Random(20)), strict=True)
        acks = answers(run.config, messages)
        assert len(acks) == 10_000
        told = [next(iter(ack.refused_by_reason)) for ack in acks]
        assert [(n, a, b) for n, (a, b) in enumerate(zip(wanted, told, strict=True)) if a != b] == []
        assert all(ack.acked_events == 0 and ack.code == 3 for ack in acks)
        whole = Counter(reason for reason, ack in zip(wanted, acks, strict=True) if ack.detail)
        for reason in ("malformed", "missing_field", "size"):
            assert metric(run.config, "refused_messages_total", reason=reason) == whole[reason] > 500
        for reason in ("sequence", "not_finite", "time", "unknown_tenant"):
            assert metric(run.config, "refused_events_total", reason=reason) == Counter(wanted)[reason] > 500

        # The other method ends a stream at the first of them.
        for message in messages[:50]:
            with contextlib.suppress(grpc.RpcError):
                assert summary(run.config, [message]).acked_events == 0
        # A peer that speaks something else, or leaves in the middle.
        rng = random.Random(21)
        for _ in range(20):
            with socket.create_connection((run.config.host, run.config.gateway_port), timeout=ANSWER_S) as raw:
                raw.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[: rng.randrange(25)] + rng.randbytes(200))
        assert in_kafka(run.config) == []
        assert summary(run.config, [encode_ingest(orders(5))]).acked_events == 5


def test_a_thousand_malformed_requests_change_nothing_and_are_counted(
    stack: local_stack.Endpoints, tmp_path: Path
) -> None:
    with gateway(stack, tmp_path, GatewayRules(chaos=True)) as run:
        seen: Counter[str] = Counter()
        for kind, data in malformed_requests(1_000, random.Random(22)):
            assert (
                status_of(run.config, data)
                == {"body": 400, "malformed_http": 400, "not_found": 404, "method": 405}[kind]
            )
            seen[kind] += 1
        assert min(seen.values()) > 100
        for kind, count in seen.items():
            assert metric(run.config, "refused_rest_requests_total", reason=kind) == count
        assert rest(run.config, "GET", "/ready")[0] == 200
        assert rest(run.config, "GET", "/release-weights")[1] == {"stable": 1.0}
        assert rest(run.config, "GET", "/chaos")[1] == {"refuse": False, "delay_s": 0.0}


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

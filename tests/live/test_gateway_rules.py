"""The gateway under its rules, as clients see it: an answer for each message, refusals with reasons, and a drain that loses nothing."""

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from live_adapters import stack as local_stack
from live_adapters.load import offer
from live_adapters.pipeline import events_pb2
from live_adapters.pipeline.codec import encode_ingest
from live_adapters.pipeline.config import RunConfig
from live_adapters.pipeline.ingress.control import ROUTES
from live_adapters.pipeline.ingress.rules import GatewayRules, Quota
from live_adapters.pipeline.releases.pricingclient import PricingClient
from live_adapters.pipeline.tokens import METADATA_KEY, mint_token
from tests.live.gateway_client import (
    ANSWER_S,
    answers,
    exchange,
    gateway,
    in_kafka,
    metric,
    orders,
    rest,
    summary,
    until,
)

pytestmark = pytest.mark.live


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
    tokens = [(METADATA_KEY, mint_token("salt", (0, 1, 2), 2e10))]
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


async def routed_by(config: RunConfig) -> dict[str, float]:
    """Asks the pricing service itself."""
    client = await PricingClient.open(config.host, config.pricing_port)
    try:
        return dict((await client.status())["weights"])
    finally:
        client.close()


def test_the_control_does_what_its_description_says(stack: local_stack.Endpoints, tmp_path: Path) -> None:
    with gateway(stack, tmp_path, GatewayRules(chaos=True), pricing=True) as run:
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

        shares = {"stable": 0.75, "good": 0.25}
        assert rest(config, "PUT", "/release-weights", shares) == (200, shares)
        for wrong in ({"stable": 0.75}, {"stable": 0.5, "goood": 0.5}, {"stable": "1"}, [1.0], None):
            assert rest(config, "PUT", "/release-weights", wrong)[0] == 400
        assert asyncio.run(routed_by(config)) == shares
        run.supervisor.stop("pricing")
        status, told = rest(config, "GET", "/release-weights")
        assert (status, told["error"].partition(":")[0]) == (503, "pricing")

        assert rest(config, "PUT", "/chaos", {"refuse": True})[0] == 200
        (ack,) = answers(config, [encode_ingest(orders(3), request_id=1)])
        assert (ack.code, ack.request_id, dict(ack.refused_by_reason)) == (8, 1, {"chaos": 3})
        assert rest(config, "PUT", "/chaos", {"delay_s": 0.01}) == (200, {"refuse": False, "delay_s": 0.01})
        assert [ack.acked_events for ack in answers(config, [encode_ingest(orders(3))])] == [3]

        assert rest(config, "GET", "/health", headers={"Origin": "http://example.org"})[0] == 403
        assert rest(config, "GET", "/health", headers={"Host": "example.org"})[0] == 403
        assert rest(config, "POST", "/drain")[0] == 202
        run.until_ended()

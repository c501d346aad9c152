"""What a client is told while Kafka has not answered yet: a gateway with real gRPC clients, and a Kafka that is held still."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import grpc

from live_adapters.pipeline import events_pb2
from live_adapters.pipeline.gateway import drain
from live_adapters.pipeline.ingress.exchange import MAX_UNANSWERED, WITHIN_KEY
from live_adapters.pipeline.ingress.rules import GatewayRules
from tests.unit.held_gateway import ANSWER_S, Client, orders, play, until


def test_a_message_is_not_acknowledged_before_every_frame_of_it_is(tmp_path: Path) -> None:
    async def story(client: Client) -> None:
        call = client.exchange()
        await call.write(orders(60))
        await until(lambda: client.kafka.events == 60)
        answer = asyncio.create_task(call.read())
        frames = len(client.kafka.held)
        assert frames > 1
        client.kafka.release(frames - 1)
        await client.ping()
        assert not answer.done()
        client.kafka.release()
        assert (await answer).acked_events == 60

    play(tmp_path, GatewayRules(), story)


def test_beyond_the_bound_messages_and_new_streams_are_refused_until_kafka_has_caught_up(tmp_path: Path) -> None:
    async def story(client: Client) -> None:
        call = client.exchange()
        await call.write(orders(70))
        await until(lambda: client.gateway.intake.in_flight_events == 70)
        await call.write(orders(30, 71, tenant=1))  # bronze: shed from 50 on
        await call.write(orders(30, 101))
        await until(lambda: client.gateway.intake.in_flight_events == 100)
        await call.write(orders(5, 131))
        await until(lambda: client.gateway.state.received_events == 135)

        late = client.exchange()
        await late.done_writing()
        assert await late.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert dict(await late.trailing_metadata())["retry-after-ms"] == "250"

        await until(lambda: client.kafka.events == 100)
        client.kafka.release()
        acks = [await call.read() for _ in range(4)]
        assert [(ack.request_id, ack.acked_events, ack.code, ack.retry_after_ms) for ack in acks] == [
            (1, 70, 0, 0),
            (71, 0, 8, 250),
            (101, 30, 0, 0),
            (131, 0, 8, 250),
        ]
        await call.write(orders(5, 136))
        await until(lambda: client.kafka.events == 5)
        client.kafka.release()
        assert (await call.read()).acked_events == 5

    play(tmp_path, GatewayRules(max_in_flight_events=100, bronze=(1,), retry_after_s=0.25), story)


def test_a_stream_is_answered_while_another_goes_on_sending(tmp_path: Path) -> None:
    async def story(client: Client) -> None:
        async def messages() -> AsyncIterator[bytes]:
            yield orders(10)

        answer = asyncio.create_task(summary(client, messages()))
        await until(lambda: client.kafka.events == 10)
        mine = len(client.kafka.held)
        other = client.exchange()
        await other.write(orders(10, 11))
        await until(lambda: client.kafka.events == 20)
        client.kafka.release(mine)
        assert (await answer).acked_events == 10
        assert client.gateway.intake.in_flight_events == 10

    play(tmp_path, GatewayRules(), story)


def test_a_drain_at_its_deadline_still_answers_what_was_taken(tmp_path: Path) -> None:
    async def story(client: Client) -> None:
        call = client.exchange()
        await call.write(orders(10))
        await until(lambda: client.kafka.events == 10)
        draining = asyncio.create_task(drain(client.gateway, client.server))
        await until(lambda: client.gateway.state.draining)
        answer = asyncio.create_task(call.read())
        await asyncio.sleep(0)
        assert not draining.done()
        client.kafka.release()
        assert (await answer).acked_events == 10
        last = await call.read()
        assert (last.message, last.code, last.retry_after_ms) == (0, 14, 100)
        assert (
            await call.code() is grpc.StatusCode.OK
        )  # an error would make the client's gRPC drop answers not yet read
        await draining
        assert client.gateway.state.open_streams == client.gateway.intake.in_flight_events == 0

    play(tmp_path, GatewayRules(drain_s=0.0), story)


def test_a_client_that_leaves_in_the_middle_leaves_nothing_behind(tmp_path: Path) -> None:
    async def story(client: Client) -> None:
        call = client.exchange()
        await call.write(orders(10))
        await until(lambda: client.kafka.events == 10)
        call.cancel()
        await until(lambda: client.gateway.state.open_streams == 0)
        client.kafka.release()
        await until(lambda: client.gateway.intake.in_flight_events == 0)
        assert json.loads(json.dumps(client.gateway.state.counters()))["acked_events"] == 10

    play(tmp_path, GatewayRules(), story)


def test_a_client_that_does_not_wait_for_its_answers_is_not_read_and_can_leave(tmp_path: Path) -> None:
    async def story(client: Client) -> None:
        call = client.exchange()
        await call.write(orders(1))
        foreign = orders(1, 2, tenant=10**6)
        for _ in range(MAX_UNANSWERED + 50):
            await call.write(foreign)
        await until(lambda: client.gateway.state.received_events == MAX_UNANSWERED)
        await client.ping()
        assert client.gateway.state.received_events == MAX_UNANSWERED
        call.cancel()
        await until(lambda: client.gateway.state.open_streams == 0)

    play(tmp_path, GatewayRules(), story)


def test_a_client_that_asks_for_it_gets_several_answers_as_one_and_each_still_for_its_own_message(
    tmp_path: Path,
) -> None:
    async def story(client: Client) -> None:
        together = client.exchange(metadata=((WITHIN_KEY, "1"),))
        apart = client.exchange()
        await together.write(orders(2))
        for number in range(1, 5):
            await together.write(orders(2, 10 * number + 1, tenant=10**6 if number == 3 else 0))
        await apart.write(orders(2, 101))
        await apart.write(orders(2, 111))
        await until(lambda: client.gateway.state.received_events == 14)
        await until(lambda: client.kafka.events == 12)
        client.kafka.release()
        acks: list[events_pb2.IngestAck] = []
        answers = 0
        while len(acks) < 5:
            answer = await together.read()
            acks += [answer, *answer.more]
            answers += 1
        assert answers < 5
        assert [(ack.message, ack.request_id, ack.acked_events, ack.code) for ack in acks] == [
            (1, 1, 2, 0),
            (2, 11, 2, 0),
            (3, 21, 2, 0),
            (4, 31, 0, 3),
            (5, 41, 2, 0),
        ]
        assert dict(acks[3].refused_by_reason) == {"unknown_tenant": 2}
        # Who has not asked for it may be of a version that knows no `more`.
        for first in (101, 111):
            answer = await apart.read()
            assert (answer.request_id, answer.acked_events, len(answer.more)) == (first, 2, 0)

    play(tmp_path, GatewayRules(), story)


def test_an_answer_is_held_back_no_longer_than_the_client_allows(tmp_path: Path) -> None:
    async def story(client: Client) -> None:
        call = client.exchange(metadata=((WITHIN_KEY, "300"),))
        started = time.monotonic()
        await call.write(orders(1, tenant=10**6))
        answer = asyncio.create_task(call.read())
        await until(lambda: client.gateway.state.received_events == 1)
        await call.write(orders(1, 2, tenant=10**6))
        await until(lambda: client.gateway.state.received_events == 2)
        assert [ack.message for ack in (await answer, *(await answer).more)] == [1, 2]
        assert 0.29 < time.monotonic() - started < ANSWER_S

    play(tmp_path, GatewayRules(), story)


def test_answers_are_not_held_back_for_more_than_a_stream_may_have_unanswered(tmp_path: Path) -> None:
    async def story(client: Client) -> None:
        call = client.exchange(metadata=((WITHIN_KEY, "0"),))
        foreign = orders(1, tenant=10**6)
        acks = 0

        async def read() -> None:
            nonlocal acks
            while acks < 2 * MAX_UNANSWERED:
                answer = await call.read()
                acks += 1 + len(answer.more)

        reading = asyncio.create_task(read())
        for _ in range(2 * MAX_UNANSWERED):
            await call.write(foreign)
        await reading
        assert acks == client.gateway.state.received_events == 2 * MAX_UNANSWERED

    play(tmp_path, GatewayRules(), story)


def test_a_time_for_answers_that_is_none_is_refused(tmp_path: Path) -> None:
    async def story(client: Client) -> None:
        for wrong in ("soon", "-1", "1001", "1.5"):
            call = client.exchange(metadata=((WITHIN_KEY, wrong),))
            await call.done_writing()
            assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert await call.details() == (
                f"sentra-answers-within-ms: must be a whole number from 0 to 1000, got '{wrong}'; "
                "leave it out for an answer each"
            )
        assert client.gateway.state.counters()["refused_streams_malformed"] == 4

    play(tmp_path, GatewayRules(), story)


def test_a_client_that_goes_on_in_vain_is_told_so_at_once(tmp_path: Path) -> None:
    async def story(client: Client) -> None:
        call = client.exchange()
        await call.write(orders(10))
        await until(lambda: client.gateway.intake.in_flight_events == 10)
        for number in range(3):
            await call.write(orders(1, 11 + number))
        await until(lambda: client.gateway.state.received_events == 13)
        await until(lambda: client.kafka.events == 10)
        client.kafka.release()
        assert [(ack.acked_events, ack.code) for ack in [await call.read() for _ in range(4)]] == [
            (10, 0),
            (0, 8),
            (0, 8),
            (0, 8),
        ]
        last = await call.read()  # though the client sends no more
        assert (last.message, last.code) == (0, 8)
        assert "nothing was taken of 3 messages in a row" in last.detail

    play(tmp_path, GatewayRules(max_in_flight_events=10, patience=3), story)


async def summary(client: Client, messages: AsyncIterator[bytes]) -> events_pb2.IngestSummary:
    return await client.stream(messages)

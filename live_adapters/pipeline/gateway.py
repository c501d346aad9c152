"""The gateway: gRPC streams of events in, frames of one partition each out to Kafka.

`Stream` answers once, at the end of the stream; `Exchange` answers each message. docs/gateway.md is the contract.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import grpc

from live_adapters.pipeline import events_pb2, planted
from live_adapters.pipeline.config import RunConfig
from live_adapters.pipeline.ingress.admission import Allowed
from live_adapters.pipeline.ingress.control import start_control
from live_adapters.pipeline.ingress.exchange import WITHIN_KEY, Exchange, read_within, retry_after
from live_adapters.pipeline.ingress.gatestate import Refused
from live_adapters.pipeline.ingress.inbox import Inbox
from live_adapters.pipeline.ingress.intake import Intake
from live_adapters.pipeline.ingress.producer import make_producer
from live_adapters.pipeline.ingress.reasons import MessageRefused, Reason
from live_adapters.pipeline.process import Lifecycle, run_process
from live_adapters.pipeline.telemetry.families import gateway_metrics
from live_adapters.pipeline.tokens import METADATA_KEY, TokenError
from sentra_sim.errors import PlantError

SERVICE = "sentra.v1.Ingest"
HARD_LIMIT = 4  # times the longest message that is read at all, and so refused with a reason
FINISH_S = 4.0  # for streams that were cut to be answered
FLUSH_S = 3.0

log = logging.getLogger("gateway")


class Gateway:
    """The two methods: each takes messages, and answers when their events are acknowledged."""

    def __init__(self, intake: Intake) -> None:
        self.intake = intake
        self.rules, self.state = intake.rules, intake.state
        self.inbox = Inbox(intake)
        self._exchanges: set[Exchange] = set()

    async def stream(self, _: AsyncIterator[bytes], context: Any) -> events_pb2.IngestSummary:
        """Serves one `Ingest.Stream` call; a message that is not valid aborts it with INVALID_ARGUMENT."""
        allowed = await self._admit_stream(context)
        refused = Refused()
        received = 0
        self.state.stream_opened()
        try:
            # Read directly: the iterator that gRPC offers is a generator around this very call.
            while (message := await context.read()) is not grpc.aio.EOF:
                await self.intake.delay()
                try:
                    events, _id = self.intake.read(message)
                except MessageRefused as error:
                    self.state.refuse_message(error)
                    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"IngestRequest: {error}")
                accepted, codes = self.intake.sift(events, allowed)
                if codes is not None:
                    refused.add(self.state.refuse_events(events, codes))
                self.intake.buffer(accepted)
                received += len(events)
                # Beyond the bound the stream is not read: gRPC's flow control slows the producer down.
                await self.intake.sender.until_below(self.rules.max_in_flight_events)
            await self.intake.flush()
        finally:
            self.state.stream_closed()
        return events_pb2.IngestSummary(
            received_events=received,
            acked_events=received - refused.events,
            refused_events=refused.events,
            refused_by_reason=refused.by_reason,
        )

    async def exchange(self, _: AsyncIterator[bytes], context: Any) -> None:
        """Serves one `Ingest.Exchange` call; begun when there is no room at all, it ends with RESOURCE_EXHAUSTED."""
        allowed = await self._admit_stream(context)
        if self.intake.in_flight_events >= self.rules.max_in_flight_events:
            self.state.refused_streams[Reason.OVERLOAD.value] += 1
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"gateway: at most {self.rules.max_in_flight_events} events may be in flight; wait and connect again",
                retry_after(self.rules.retry_after_s),
            )
        exchange = Exchange(self.inbox, self.intake, context, allowed, await self._answers_within(context))
        self._exchanges.add(exchange)
        self.state.stream_opened()
        try:
            await exchange.run()
        finally:
            self.state.stream_closed()
            self._exchanges.discard(exchange)

    def cut(self) -> None:
        """Has open `Exchange` streams take no more messages."""
        for exchange in self._exchanges:
            exchange.cut()

    async def _admit_stream(self, context: Any) -> Allowed | None:
        """Lets a stream in, or aborts it; returns the tenants that it may send for."""
        if self.state.draining:
            self.state.refused_streams["draining"] += 1
            await context.abort(
                grpc.StatusCode.UNAVAILABLE,
                "gateway: drains, and takes no new streams; connect again",
                retry_after(self.rules.retry_after_s),
            )
        try:
            return self.intake.admission.allowed(_metadata(context, METADATA_KEY), time.time())
        except TokenError as error:
            self.state.refused_streams[Reason.TOKEN.value] += 1
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))
        return None

    async def _answers_within(self, context: Any) -> float | None:
        """Returns how long a stream lets its answers be held back, or aborts it."""
        try:
            return read_within(_metadata(context, WITHIN_KEY))
        except ValueError as error:
            self.state.refused_streams[Reason.MALFORMED.value] += 1
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        return None


def _metadata(context: Any, key: str) -> str:
    return str(dict(context.invocation_metadata() or ()).get(key, ""))


async def start_server(gateway: Gateway, host: str, port: int) -> Any:
    """Starts the gRPC server of a gateway.

    Raises:
        PlantError: the port is taken.
    """
    longest = ("grpc.max_receive_message_length", HARD_LIMIT * gateway.rules.max_message_bytes)
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0), longest))
    # Without a deserializer a message stays bytes, which the codec reads as an array.
    methods = {
        "Stream": grpc.stream_unary_rpc_method_handler(
            gateway.stream, response_serializer=events_pb2.IngestSummary.SerializeToString
        ),
        "Exchange": grpc.stream_stream_rpc_method_handler(
            gateway.exchange, response_serializer=events_pb2.IngestAck.SerializeToString
        ),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    try:
        server.add_insecure_port(f"{host}:{port}")
    except RuntimeError as error:
        raise PlantError(f"gateway: {host}:{port} must be a free port, got {error}; choose another") from None
    await server.start()
    return server


async def drain(gateway: Gateway, server: Any) -> None:
    """Ends without loss: no new streams, open ones go on to their end or the deadline, then everything taken is sent."""
    gateway.state.draining = True
    if not await gateway.state.until_idle(gateway.rules.drain_s):
        log.warning("%d streams were still open after %g s: cut", gateway.state.open_streams, gateway.rules.drain_s)
        gateway.cut()
        await gateway.state.until_idle(FINISH_S)
    await server.stop(grace=FINISH_S / 2)
    await asyncio.wait_for(gateway.intake.flush(), FLUSH_S)


async def serve(config: RunConfig, life: Lifecycle) -> None:
    """Runs the gateway until it is asked to stop, by signal or `POST /drain`; a frame that cannot be sent ends it.

    Raises:
        PlantError: Kafka did not take a frame, or a port is taken.
    """
    producer = make_producer(config.kafka, **planted.producer_settings(config))
    await producer.start()
    intake = Intake(config, producer)
    gateway = Gateway(intake)
    try:
        await producer.partitions_for(config.topic)
        server = await start_server(gateway, config.host, config.gateway_port)
        control = start_control(config, gateway.state, lambda: intake.in_flight_events)
        gateway.state.serving = True
        life.expose(partial(gateway_metrics, intake))
        life.ready()
        signalled: asyncio.Future[Any] = asyncio.ensure_future(life.stopped())
        asked: asyncio.Future[Any] = asyncio.ensure_future(gateway.state.drain_asked.wait())
        await asyncio.wait([signalled, asked, intake.sender.failure], return_when=asyncio.FIRST_COMPLETED)
        if intake.sender.failure.done():
            error = intake.sender.failure.exception()
            raise PlantError(f"gateway: every frame must reach Kafka, got {error!r}; see the brokers' logs")
        await drain(gateway, server)
        control.stop()
        await producer.stop()
    finally:
        await intake.sender.close()
        intake.close()
        life.report(gateway.state.counters())
    log.info("drained")


if __name__ == "__main__":
    run_process("gateway", serve)

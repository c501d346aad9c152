"""The gateway: gRPC streams of events in, frames of one partition each out to Kafka.

`Stream` answers once, at the end of the stream; `Exchange` answers each message. docs/gateway.md is the contract.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import numpy as np

from live_adapters.pipeline import events_pb2
from live_adapters.pipeline.acks import AckBook
from live_adapters.pipeline.admission import Admission, Allowed, Codes, Marks
from live_adapters.pipeline.batcher import Batcher, Frame
from live_adapters.pipeline.codec import EventArray
from live_adapters.pipeline.config import RunConfig
from live_adapters.pipeline.control import start_control
from live_adapters.pipeline.exchange import Exchange, retry_after
from live_adapters.pipeline.gatestate import GateState, Refused
from live_adapters.pipeline.hoplog import GATEWAY, GATEWAY_FRAMES, GATEWAY_INTENDED, INTENDED, HopLog
from live_adapters.pipeline.ingesttokens import METADATA_KEY
from live_adapters.pipeline.process import Lifecycle, run_process
from live_adapters.pipeline.producer import FrameSender, make_producer
from live_adapters.pipeline.reasons import MessageRefused, Reason
from sentra_sim.errors import PlantError
from sentra_sim.scenario import Batcher as BatcherStation
from sentra_sim.scenario import Log, only
from sentra_sim.units import NS_PER_S

SERVICE = "sentra.v1.Ingest"
MAX_UNACKED_EVENTS = 200_000  # beyond it `Stream` is not read: gRPC's flow control slows the producers down
HARD_LIMIT = 4  # times the longest message that is read at all, and so refused with a reason
FINISH_S = 4.0  # for streams that were cut to be answered
FLUSH_S = 3.0

log = logging.getLogger("gateway")


class Gateway:
    """Takes messages, closes frames by size or linger, and answers when the events are acknowledged."""

    def __init__(self, config: RunConfig, producer: Any) -> None:
        _, station = only(config.scenario, BatcherStation)
        partitions = only(config.scenario, Log)[1].partitions
        tenants = config.scenario.load.tenants
        self.rules = config.gateway_rules
        self.admission = Admission(self.rules, tenants, time.monotonic_ns())
        self.state = GateState(tenants)
        self._batcher = Batcher(partitions, station.max_events, int(station.linger_s * NS_PER_S))
        self._acks = AckBook(partitions)
        self._exchanges: set[Exchange] = set()
        self.sender = FrameSender(producer, config.topic, partitions, self._acked)
        self._frames = HopLog(config.scratch, *GATEWAY_FRAMES)
        self._intended = HopLog(config.scratch, *GATEWAY_INTENDED)
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def in_flight_events(self) -> int:
        """Events taken and not yet acknowledged by Kafka, those in open frames included."""
        return self.sender.unacked_events + self._batcher.open_events

    async def stream(self, _: AsyncIterator[bytes], context: Any) -> events_pb2.IngestSummary:
        """Serves one `Ingest.Stream` call; a message that is not valid aborts it with INVALID_ARGUMENT."""
        allowed = await self._admit_stream(context)
        refused = Refused()
        received = 0
        self.state.stream_opened()
        try:
            # Read directly: the iterator that gRPC offers is a generator around this very call.
            while (message := await context.read()) is not grpc.aio.EOF:
                if self.state.chaos.delay_s:
                    await self.delay()
                try:
                    events, _id = self.read(message)
                except MessageRefused as error:
                    self.state.refuse_message(error)
                    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"IngestRequest: {error}")
                accepted, codes = self.sift(events, allowed)
                if codes is not None:
                    refused.add(self.state.refuse_events(events, codes))
                self._buffer(accepted)
                received += len(events)
                if self.sender.unacked_events >= MAX_UNACKED_EVENTS:
                    await self.sender.until_below(MAX_UNACKED_EVENTS)
            await self.flush()
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
        if self.in_flight_events >= self.rules.max_in_flight_events:
            self.state.refused_streams[Reason.OVERLOAD.value] += 1
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"gateway: at most {self.rules.max_in_flight_events} events may be in flight; wait and connect again",
                retry_after(self.rules.retry_after_s),
            )
        exchange = Exchange(self, context, allowed)
        self._exchanges.add(exchange)
        self.state.stream_opened()
        try:
            await exchange.run()
        finally:
            self.state.stream_closed()
            self._exchanges.discard(exchange)

    def read(self, message: bytes) -> tuple[EventArray, int | None]:
        """Reads a message into its events and its request id.

        Raises:
            MessageRefused: it is refused as a whole.
        """
        events, request_id = self.admission.read(message)
        if self.state.chaos.refuse:
            raise MessageRefused(Reason.CHAOS, "refused by PUT /chaos; send it again", len(events), request_id)
        return events, request_id

    def sift(
        self, events: EventArray, allowed: Allowed | None, marks: Marks | None = None, in_flight_events: int = 0
    ) -> tuple[EventArray, Codes | None]:
        """Returns the events that are taken, and the code of each when any is not; the arguments are those of `judge`."""
        self.state.received_events += len(events)
        codes = self.admission.judge(events, time.monotonic_ns(), allowed, marks, in_flight_events)
        return (events, None) if codes is None else (events[codes == 0], codes)

    def buffer_awaited(self, events: EventArray) -> asyncio.Future[None]:
        """Buffers events that are taken; the future is done when Kafka has them all."""
        self._buffer(events)
        return self._acks.expect(self._batcher.last_frames(events))

    async def delay(self) -> None:
        """Waits as long as `PUT /chaos` says, before a message is looked at."""
        if self.state.chaos.delay_s:
            await asyncio.sleep(self.state.chaos.delay_s)

    def cut(self) -> None:
        """Has open `Exchange` streams take no more messages."""
        for exchange in self._exchanges:
            exchange.cut()

    async def flush(self) -> None:
        """Closes every open frame and waits until all frames closed by now are acknowledged.

        Raises:
            KafkaError: a frame could not be sent.
        """
        self.sender.put(self._batcher.close_all(time.monotonic_ns()))
        # Not until nothing is in flight: beside a stream that goes on sending, that moment may never come.
        delivered = self._acks.expect(self._batcher.closed_frames())
        await asyncio.wait([delivered, self.sender.failure], return_when=asyncio.FIRST_COMPLETED)
        if not delivered.done():
            self.sender.failure.result()

    def close(self) -> None:
        """Stops the timer and closes the hop logs."""
        if self._timer is not None:
            self._timer.cancel()
        self._frames.close()
        self._intended.close()

    async def _admit_stream(self, context: Any) -> Allowed | None:
        """Lets a stream in, or aborts it; returns the tenants that it may send for."""
        if self.state.draining:
            self.state.refused_streams["draining"] += 1
            await context.abort(
                grpc.StatusCode.UNAVAILABLE,
                "gateway: drains, and takes no new streams; connect again",
                retry_after(self.rules.retry_after_s),
            )
        metadata = context.invocation_metadata() or ()
        try:
            return self.admission.allowed(str(value) for key, value in metadata if key == METADATA_KEY)
        except ValueError as error:
            self.state.refused_streams[Reason.TOKEN.value] += 1
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, f"{METADATA_KEY}: {error}")
        return None

    def _buffer(self, events: EventArray) -> None:
        if len(events):
            self.sender.put(self._batcher.add(events, time.monotonic_ns()))
            if self._timer is None:
                self._arm()

    def _arm(self) -> None:
        """Sets the timer to the earliest end of a linger; all partitions due by then close in that one tick."""
        deadline = self._batcher.deadline_ns()
        if deadline is None:
            self._timer = None
            return
        left_s = max(0, deadline - time.monotonic_ns()) / NS_PER_S
        self._timer = self._loop.call_later(left_s, self._tick)

    def _tick(self) -> None:
        self.sender.put(self._batcher.due(time.monotonic_ns()))
        self._arm()

    def _acked(self, frame: Frame) -> None:
        now = time.monotonic_ns()
        # Events first: a frame that is in the log has all its events there too, even if the process ends between.
        intended = np.empty(len(frame.events), dtype=INTENDED)
        intended["frame"] = frame.frame
        intended["intended_ns"] = frame.events["intended_ns"]
        self._intended.append(intended)
        row = (frame.frame, frame.partition, len(frame.events), frame.received_ns, frame.closed_ns, now)
        self._frames.append(np.array([row], dtype=GATEWAY))
        self.state.acked_events += len(frame.events)
        self._acks.acked(frame.partition, frame.frame)


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
    await asyncio.wait_for(gateway.flush(), FLUSH_S)


async def serve(config: RunConfig, life: Lifecycle) -> None:
    """Runs the gateway until it is asked to stop, by signal or `POST /drain`; a frame that cannot be sent ends it.

    Raises:
        PlantError: Kafka did not take a frame, or a port is taken.
    """
    producer = make_producer(config.kafka)
    await producer.start()
    gateway = Gateway(config, producer)
    try:
        await producer.partitions_for(config.topic)
        server = await start_server(gateway, config.host, config.gateway_port)
        control = start_control(config, gateway.state, lambda: gateway.in_flight_events)
        gateway.state.serving = True
        life.ready()
        signalled: asyncio.Future[Any] = asyncio.ensure_future(life.stopped())
        asked: asyncio.Future[Any] = asyncio.ensure_future(gateway.state.drain_asked.wait())
        await asyncio.wait([signalled, asked, gateway.sender.failure], return_when=asyncio.FIRST_COMPLETED)
        if gateway.sender.failure.done():
            error = gateway.sender.failure.exception()
            raise PlantError(f"gateway: every frame must reach Kafka, got {error!r}; see the brokers' logs")
        await drain(gateway, server)
        control.stop()
        await producer.stop()
    finally:
        await gateway.sender.close()
        gateway.close()
        life.report(gateway.state.counters())
    log.info("drained")


if __name__ == "__main__":
    run_process("gateway", serve)

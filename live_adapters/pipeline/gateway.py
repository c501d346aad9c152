"""The gateway: gRPC streams of events in, frames of one partition each out to Kafka."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import numpy as np

from live_adapters.pipeline import events_pb2
from live_adapters.pipeline.batcher import Batcher, Frame
from live_adapters.pipeline.codec import EventArray, decode_ingest
from live_adapters.pipeline.config import RunConfig
from live_adapters.pipeline.hoplog import GATEWAY, GATEWAY_FRAMES, GATEWAY_INTENDED, INTENDED, HopLog
from live_adapters.pipeline.process import Lifecycle, run_process
from live_adapters.pipeline.producer import FrameSender, make_producer
from sentra_sim.errors import PlantError
from sentra_sim.scenario import Batcher as BatcherStation
from sentra_sim.scenario import Log, only
from sentra_sim.units import NS_PER_S

SERVICE, METHOD = "sentra.v1.Ingest", "Stream"
MAX_UNACKED_EVENTS = 200_000  # beyond it streams are not read: gRPC's flow control slows the producers down
DRAIN_S = 20.0

log = logging.getLogger("gateway")


class Gateway:
    """Takes messages, closes frames by size or linger, and answers a stream when all its events are acknowledged."""

    def __init__(self, config: RunConfig, producer: Any) -> None:
        _, station = only(config.scenario, BatcherStation)
        partitions = only(config.scenario, Log)[1].partitions
        self._batcher = Batcher(partitions, station.max_events, int(station.linger_s * NS_PER_S))
        self.sender = FrameSender(producer, config.topic, partitions, self._acked)
        self._frames = HopLog(config.scratch, *GATEWAY_FRAMES)
        self._intended = HopLog(config.scratch, *GATEWAY_INTENDED)
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    async def stream(self, _: AsyncIterator[bytes], context: Any) -> events_pb2.IngestSummary:
        """Serves one `Ingest.Stream` call; a message that is not valid aborts it with INVALID_ARGUMENT."""
        received = refused = 0
        # Read directly: the iterator that gRPC offers is a generator around this very call.
        while (message := await context.read()) is not grpc.aio.EOF:
            try:
                events = decode_ingest(message)
            except ValueError as error:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"IngestRequest: {error}")
            accepted = self.take(events)
            received += len(events)
            refused += len(events) - accepted
            if self.sender.unacked_events >= MAX_UNACKED_EVENTS:
                await self.sender.until_below(MAX_UNACKED_EVENTS)
        await self.flush()
        return events_pb2.IngestSummary(
            received_events=received, acked_events=received - refused, refused_events=refused
        )

    def take(self, events: EventArray) -> int:
        """Buffers the events of a message and returns how many; those without sequence or with a value not finite are refused."""
        good = (events["sequence"] > 0) & np.isfinite(events["quantity"]) & np.isfinite(events["limit_price"])
        if not good.all():
            events = events[good]
        if len(events):
            self.sender.put(self._batcher.add(events, time.monotonic_ns()))
            if self._timer is None:
                self._arm()
        return len(events)

    async def flush(self) -> None:
        """Closes every open frame and waits until all frames are acknowledged."""
        self.sender.put(self._batcher.close_all(time.monotonic_ns()))
        await self.sender.until_below(1)

    def close(self) -> None:
        """Stops the timer and closes the hop logs."""
        if self._timer is not None:
            self._timer.cancel()
        self._frames.close()
        self._intended.close()

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


async def start_server(gateway: Gateway, host: str, port: int) -> Any:
    """Starts the gRPC server of a gateway.

    Raises:
        PlantError: the port is taken.
    """
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    # Without a deserializer a message stays bytes, which the codec reads as an array.
    handler = grpc.stream_unary_rpc_method_handler(
        gateway.stream, response_serializer=events_pb2.IngestSummary.SerializeToString
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler}),))
    try:
        server.add_insecure_port(f"{host}:{port}")
    except RuntimeError as error:
        raise PlantError(f"gateway: {host}:{port} must be a free port, got {error}; choose another") from None
    await server.start()
    return server


async def serve(config: RunConfig, life: Lifecycle) -> None:
    """Runs the gateway until it is asked to stop; a frame that cannot be sent ends it.

    Raises:
        PlantError: Kafka did not take a frame, or the port is taken.
    """
    producer = make_producer(config.kafka)
    await producer.start()
    gateway = Gateway(config, producer)
    try:
        await producer.partitions_for(config.topic)
        server = await start_server(gateway, config.host, config.gateway_port)
        life.ready()
        stop = asyncio.ensure_future(life.stopped())
        await asyncio.wait([stop, gateway.sender.failure], return_when=asyncio.FIRST_COMPLETED)
        if gateway.sender.failure.done():
            error = gateway.sender.failure.exception()
            raise PlantError(f"gateway: every frame must reach Kafka, got {error!r}; see the brokers' logs")
        await server.stop(grace=DRAIN_S)
        await asyncio.wait_for(gateway.flush(), DRAIN_S)
        await producer.stop()
    finally:
        await gateway.sender.close()
        gateway.close()
    log.info("drained")


if __name__ == "__main__":
    run_process("gateway", serve)

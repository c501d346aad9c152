"""What both methods of the gateway feed: messages are read and judged, their events fill frames, frames go to Kafka."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from live_adapters.pipeline.codec import EventArray
from live_adapters.pipeline.config import RunConfig
from live_adapters.pipeline.hoplog import (
    GATEWAY,
    GATEWAY_FRAMES,
    GATEWAY_INTENDED,
    GATEWAY_PRODUCED,
    INTENDED,
    PRODUCED,
    HopLog,
)
from live_adapters.pipeline.ingress.acks import AckBook
from live_adapters.pipeline.ingress.admission import Admission, Allowed, Codes, Marks
from live_adapters.pipeline.ingress.batcher import Batcher, Frame
from live_adapters.pipeline.ingress.gatestate import GateState
from live_adapters.pipeline.ingress.producer import FrameSender
from live_adapters.pipeline.ingress.reasons import MessageRefused, Reason
from sentra_sim.scenario import Batcher as BatcherStation
from sentra_sim.scenario import Log, only
from sentra_sim.units import NS_PER_S


class Intake:
    """Takes events, closes frames by size or linger, and tells when Kafka has them."""

    def __init__(self, config: RunConfig, producer: Any) -> None:
        _, station = only(config.scenario, BatcherStation)
        partitions = only(config.scenario, Log)[1].partitions
        tenants = config.scenario.load.tenants
        self.rules = config.gateway_rules
        self.admission = Admission(self.rules, tenants, time.monotonic_ns())
        self.state = GateState(tenants)
        self.linger_s = station.linger_s
        self._batcher = Batcher(partitions, station.max_events, int(station.linger_s * NS_PER_S))
        self.acks = AckBook(partitions)
        self.sender = FrameSender(producer, config.topic, partitions, self._acked)
        self._frames = HopLog(config.scratch, *GATEWAY_FRAMES)
        self._intended = HopLog(config.scratch, *GATEWAY_INTENDED)
        self._produced = HopLog(config.scratch, *GATEWAY_PRODUCED)
        self.frames = 0  # acknowledged
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def in_flight_events(self) -> int:
        """Events taken and not yet acknowledged by Kafka, those in open frames included."""
        return self.sender.unacked_events + self._batcher.open_events

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

    def admit_all(self, events: EventArray) -> bool:
        """Takes events of several messages if all of them may be taken; otherwise nothing is counted."""
        admitted = self.admission.admit_all(events, time.monotonic_ns(), self.in_flight_events)
        self.state.received_events += len(events) if admitted else 0
        return admitted

    def place(self, events: EventArray, received_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        """Buffers events that are taken; returns the frame of each, shape (events,): Kafka has it when it has the frame."""
        full, frames = self._batcher.place(events, received_ns, time.monotonic_ns())
        self.sender.put(full)
        if self._timer is None:
            self._arm()
        return frames

    async def delay(self) -> None:
        """Waits as long as `PUT /chaos` says, before a message is looked at."""
        if self.state.chaos.delay_s:
            await asyncio.sleep(self.state.chaos.delay_s)

    def buffer(self, events: EventArray) -> None:
        """Buffers events that are taken."""
        if len(events):
            self.place(events, np.full(len(events), time.monotonic_ns()))

    async def flush(self) -> None:
        """Closes every open frame and waits until all frames closed by now are acknowledged.

        Raises:
            KafkaError: a frame could not be sent.
        """
        self.sender.put(self._batcher.close_all(time.monotonic_ns()))
        # Not until nothing is in flight: beside a stream that goes on sending, that moment may never come.
        delivered = self.acks.expect(self._batcher.closed_frames())
        await asyncio.wait([delivered, self.sender.failure], return_when=asyncio.FIRST_COMPLETED)
        if not delivered.done():
            self.sender.failure.result()

    def close(self) -> None:
        """Stops the timer and closes the hop logs."""
        if self._timer is not None:
            self._timer.cancel()
        self._frames.close()
        self._intended.close()
        self._produced.close()

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

    def _acked(self, frame: Frame, sent_ns: int) -> None:
        now = time.monotonic_ns()
        # Events first: a frame that is in the log has all its events there too, even if the process ends between.
        intended = np.empty(len(frame.events), dtype=INTENDED)
        intended["frame"] = frame.frame
        intended["intended_ns"] = frame.events["intended_ns"]
        self._intended.append(intended)
        row = (frame.frame, frame.partition, len(frame.events), frame.received_ns, frame.closed_ns, now)
        self._frames.append(np.array([row], dtype=GATEWAY))
        self._produced.append(np.array([(frame.frame, sent_ns)], dtype=PRODUCED))
        self.frames += 1
        self.state.acked_events += len(frame.events)
        self.acks.acked(frame.partition, frame.frame)

"""The observer: a process that reads the hop logs of the others, and tells what no one of them can know.

End-to-end latency, staleness, hop times and lag for `/metrics`, spans of sampled frames and of the slowest one of each look.
It runs when no one else wants the core; the pipeline's processes do nothing for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Iterable

import numpy as np
from prometheus_client.metrics_core import Metric

from live_adapters.pipeline.config import RunConfig
from live_adapters.pipeline.process import Lifecycle, run_process
from live_adapters.pipeline.telemetry.export import SpanSink, exporters
from live_adapters.pipeline.telemetry.exposition import counter, gauges
from live_adapters.pipeline.telemetry.framebook import FrameBook, Known
from live_adapters.pipeline.telemetry.frametrace import Span, frame_spans
from live_adapters.pipeline.telemetry.histogram import Histogram, histogram, histograms
from live_adapters.pipeline.telemetry.names import OBSERVER, SPANS_FILE
from live_adapters.pipeline.telemetry.targets import TARGETS_FILE, Targets
from live_adapters.stack.folders import home
from sentra_sim.errors import InputError
from sentra_sim.records.traceids import trace_id
from sentra_sim.units import NS_PER_S

LOOK_S = 1.0
GIVE_UP_S = 15.0  # a frame that is not everywhere by then is told of as far as it got
DEFAULT_RATIO = 0.01
RATIO, DISABLED = "OTEL_TRACES_SAMPLER_ARG", "OTEL_SDK_DISABLED"
STEPS = {
    "closed": ("received", "closed"),
    "acked": ("closed", "acked"),
    "started": ("acked", "started"),
    "priced": ("started", "priced"),
    "committed": ("priced", "committed"),
    "redis": ("committed", "redis"),
    "clickhouse": ("committed", "clickhouse"),
    "sent": ("committed", "sent"),
    "delivered": ("sent", "delivered"),
}


class Observer:
    """Follows one run."""

    def __init__(self, config: RunConfig, sink: SpanSink | None, ratio: float) -> None:
        self._run, self._sink, self._ratio = config.topic, sink, ratio
        self._book = FrameBook(config.scratch)
        self._book.waiting.update(dict.fromkeys(range(config.partitions), 0))
        self.end_to_end, self.staleness = Histogram(), Histogram()
        self.steps = {hop: Histogram() for hop in STEPS}
        self._unfinished = 0

    def look(self, now_ns: int) -> None:
        """Reads what is new and tells of the frames that are done."""
        self._book.look()
        done = list(self._book.done(now_ns - round(GIVE_UP_S * NS_PER_S)))
        self._unfinished += sum(not known.whole for _, known in done)
        self._measure(done)
        if self._sink is not None:
            self._trace(done, self._sink)

    def collect(self) -> Iterable[Metric]:
        """Returns the metrics."""
        yield histogram("sentra_end_to_end_seconds", "Intended send to delivered, every event.", self.end_to_end)
        yield histogram("sentra_staleness_seconds", "Broker append to visible in Redis, every event.", self.staleness)
        yield histograms("sentra_hop_seconds", "From the hop before to this one, every frame.", "hop", self.steps)
        lag = {str(partition): max(0, events) for partition, events in sorted(self._book.waiting.items())}
        yield gauges("sentra_lag_events", "Acknowledged and not taken by a worker.", "partition", lag)
        yield counter("sentra_unfinished_frames", "Frames that did not get everywhere in time.", self._unfinished)
        yield counter("sentra_spans_exported", "Spans exported.", self._sink.exported if self._sink else 0)
        yield counter(
            "sentra_spans_failed", "Spans that a backend did not take.", self._sink.failed if self._sink else 0
        )

    def _measure(self, done: list[tuple[int, Known]]) -> None:
        for hop, (start, end) in STEPS.items():
            passed = [known.marks for _, known in done if known.marks.get(start) and known.marks.get(end)]
            times = np.array([marks[end] - marks[start] for marks in passed], dtype=np.int64)
            self.steps[hop].add(np.maximum(times, 0) / NS_PER_S)  # who holds a frame may note it first
        visible = [known for _, known in done if known.marks.get("redis")]
        stale_ns = np.array([known.marks["redis"] - known.marks["acked"] for known in visible], dtype=np.int64)
        self.staleness.add(np.maximum(stale_ns, 0) / NS_PER_S, [known.events for known in visible])
        delivered = [known for _, known in done if known.delivered]
        if delivered:
            latency_ns = np.concatenate([known.marks["delivered"] - known.intended for known in delivered])
            self.end_to_end.add(latency_ns / NS_PER_S)

    def _trace(self, done: list[tuple[int, Known]], sink: SpanSink) -> None:
        """Exports the spans of those that are sampled, and of the slowest; they are the examples of their buckets."""
        slowest = max((pair for pair in done if pair[1].delivered), key=lambda pair: _latency_ns(pair[1]), default=None)
        spans: list[Span] = []
        for frame, known in done:
            if not (self._sampled(frame) or (slowest and frame == slowest[0])):
                continue
            spans += frame_spans(self._run, frame, known.events, known.marks, known.intended.tolist())
            trace = trace_id(self._run, frame)
            if known.delivered:
                self.end_to_end.show(_latency_ns(known) / NS_PER_S, trace)
            if known.marks.get("redis"):
                self.staleness.show(max(0, known.marks["redis"] - known.marks["acked"]) / NS_PER_S, trace)
        sink.put(spans)

    def _sampled(self, frame: int) -> bool:
        """Decides by the trace id, as OpenTelemetry's `traceidratio` does."""
        return int(trace_id(self._run, frame)[16:], 16) < self._ratio * (1 << 64)


def _latency_ns(known: Known) -> int:
    """Returns the end-to-end time of a frame's slowest event: the one that was due first."""
    return known.marks["delivered"] - int(known.intended.min())


def sampling_ratio(text: str | None) -> float:
    """Returns the share of frames that are traced.

    Raises:
        InputError: it is no number from 0 to 1.
    """
    if text is None:
        return DEFAULT_RATIO
    with contextlib.suppress(ValueError):
        if 0.0 <= float(text) <= 1.0:
            return float(text)
    raise InputError(f"{RATIO}: must be a number from 0 to 1, got {text!r}; 0.01 traces one frame in a hundred")


def stand_back() -> None:
    """Runs only when nothing else wants the core."""
    try:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    except (AttributeError, OSError):  # no Linux, or not allowed
        os.nice(19)


async def serve(config: RunConfig, life: Lifecycle) -> None:
    """Looks about once a second until asked to stop, then once more.

    Raises:
        InputError: the sampling ratio is none.
    """
    stand_back()
    ratio = sampling_ratio(os.environ.get(RATIO))
    disabled = os.environ.get(DISABLED, "").lower() == "true"
    offset_ns = time.time_ns() - time.monotonic_ns()
    sink = None if disabled else SpanSink(config.topic, exporters(config.scratch / SPANS_FILE), offset_ns)
    observer = Observer(config, sink, ratio)
    targets = Targets(home() / TARGETS_FILE, config.topic, (config.scratch, home() / "clickhouse"))
    life.expose(observer.collect)
    life.ready()
    try:
        while not life.stopping:
            observer.look(time.monotonic_ns())
            targets.refresh()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(life.stopped(), LOOK_S)
        observer.look(time.monotonic_ns())
    finally:
        targets.remove()
        if sink is not None:
            sink.close()


if __name__ == "__main__":
    run_process(OBSERVER, serve)

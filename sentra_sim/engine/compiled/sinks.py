"""Where the frames of a run of the compiled engine go when they are over."""

from __future__ import annotations

from typing import Any, Protocol

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from sentra_sim.engine.compiled.memory import (
    cold,
    event_poison_at,
    first_event_at,
    frame_at,
    frame_of,
    hop_at,
    inline,
    number_at,
    plain,
    repeats_of,
    spoilt_at,
)
from sentra_sim.engine.plan import Plan
from sentra_sim.engine.statistics import BUCKETS, LEAST_EXPONENT, MANTISSA_BITS, Histogram
from sentra_sim.engine.trace import DLQ, EVENT_SHED, LOST, SHED
from sentra_sim.scenario import INTENDED, ConsumerGroup, hop_edges, only

# What is counted of events in the window, and the hops of frames of the whole run.
EVENTS_TAKEN, DELIVERED, EVENTS_SHED, EVENTS_DLQ, EVENTS_LOST, UNDER_WAY, FRAME_HOPS, COUNTS = range(8)
FIRST_BUCKET = (1023 + LEAST_EXPONENT) << MANTISSA_BITS


class Sink(Protocol):
    """Takes the frames that are over, in order of opening; their rows are used again then.

    Without a sink all frames stay, for the trace.
    """

    def offer(self, intended_s: NDArray[np.float64]) -> None:
        """Notes events that are offered, shape (events,)."""
        ...

    def take(self, state: Any, first: int, end: int) -> None:
        """Takes frames `first` to `end - 1`, with the events whose frames they are."""
        ...

    def refused(self, state: Any) -> None:
        """Looks at the end of a run for events that the batcher has refused."""
        ...


class StatisticsSink:
    """Counts every event's times between the hops of each KPI; `final` is the number of the hop where events are delivered."""

    def __init__(self, plan: Plan, window_s: tuple[float, float], final: str) -> None:
        self.window_s = (float(window_s[0]), float(window_s[1]))
        number = {INTENDED: -1} | {edge.hop: number for number, edge in enumerate(hop_edges(plan.scenario))}
        self.names = list(plan.scenario.kpis)
        spans = [(number[span.start], number[span.end]) for span in plan.scenario.kpis.values()]
        self.spans = np.array(spans, dtype=np.int64).reshape(-1, 2)
        self.buckets = np.zeros((len(spans), BUCKETS), dtype=np.int64)
        self.sums = np.zeros(len(spans))
        self.missing = np.zeros(len(spans), dtype=np.int64)
        self.counts = np.zeros(COUNTS, dtype=np.int64)
        self.final = number[final]
        self.processed = number[only(plan.scenario, ConsumerGroup)[1].hop]
        self.offered = 0
        self._weights = np.zeros(64, dtype=np.int64)

    def offer(self, intended_s: NDArray[np.float64]) -> None:
        """Counts the events in the window."""
        start, end = np.searchsorted(intended_s, self.window_s)
        self.offered += int(end - start)

    def take(self, state: Any, first: int, end: int) -> None:
        """Counts frames and their events."""
        if len(self._weights) < end - first:
            self._weights = np.zeros(2 * (end - first), dtype=np.int64)
        self._weights[: end - first] = 0
        totals = (self.spans, self.buckets, self.sums, self.missing, self.counts, self._weights)
        _account(state, totals, (first, end), self.window_s, (self.final, self.processed))

    def refused(self, state: Any) -> None:
        """Counts the events in the window that were refused the last time that they were sent."""
        self.counts[EVENTS_SHED] += _count_refused(state, self.window_s)

    def histograms(self) -> dict[str, Histogram]:
        """Returns what was counted; events that no frame took have been on their way for ever."""
        untaken = np.where(self.spans[:, 0] < 0, self.offered - self.counts[EVENTS_TAKEN], 0)
        return {
            name: Histogram(self.buckets[number], float(self.sums[number]), int(self.missing[number] + untaken[number]))
            for number, name in enumerate(self.names)
        }


def _generate_bits(typing_context: Any, value: Any) -> Any:
    """Returns the bits of a double as an integer."""
    del typing_context, value

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        del context, signature
        return builder.bitcast(args[0], ir.IntType(64))

    return types.int64(types.float64), generate


_bits: Any = intrinsic(_generate_bits)


@inline
def bucket_of(time: float) -> int:
    """Returns the bucket of a time: its exponent and the first bits of its mantissa."""
    if not time > 0.0:
        return 0
    return min(max((_bits(time) >> (52 - MANTISSA_BITS)) - FIRST_BUCKET, 0), BUCKETS - 1)  # type: ignore[no-any-return]


@inline
def _add(totals: Any, span: int, time: float, weight: int) -> None:
    _, buckets, sums, missing, _, _ = totals
    if np.isnan(time):
        missing[span] += weight
    else:
        buckets[span, bucket_of(time)] += weight
        sums[span] += time * weight


@inline
def _fate(sim: Any, frame: int, final: int) -> int:
    """Returns as what a frame's events count."""
    outcome = frame_at(sim, frame).outcome
    if outcome == SHED:
        return EVENTS_SHED
    if outcome == DLQ:
        return EVENTS_DLQ
    if outcome == LOST:
        return EVENTS_LOST
    return UNDER_WAY if np.isnan(hop_at(sim, frame, final).value) else DELIVERED


@cold
def _was_parted(sim: Any, frame: int, event: int) -> bool:
    """Tells whether an event was put aside or dropped as poison while others of its frame went on."""
    if event_poison_at(sim, event).value >= 0.0:
        return False
    repeats = repeats_of(sim, frame).value if sim.tracked else 0
    dead = spoilt_at(sim, frame).dead
    return dead > 0 and dead < frame_at(sim, frame).events - repeats  # type: ignore[no-any-return]


@cold
def _account_parted(sim: Any, totals: Any, frame: int, intended: float, processed: int) -> None:
    """Counts an event that came no further than to its processing."""
    spans, _, _, _, counts, _ = totals
    counts[EVENTS_TAKEN] += 1
    counts[EVENTS_DLQ if sim.dead_letters else EVENTS_LOST] += 1
    for span in range(len(spans)):
        ended = hop_at(sim, frame, spans[span, 1]).value if spans[span, 1] <= processed else np.nan
        if spans[span, 0] < 0:
            _add(totals, span, ended - intended, 1)
        else:
            began = hop_at(sim, frame, spans[span, 0]).value if spans[span, 0] <= processed else np.nan
            _add(totals, span, ended - began, 1)


@numba.njit(cache=True, error_model="numpy")
def _account(tables: Any, totals: Any, frames: Any, window_s: Any, marked: Any) -> None:
    """Counts the events of a range of frames, and the times of those that were intended in the window."""
    sim = tables[0]
    spans, _, _, _, counts, weights = totals
    (first, end), (final, processed) = frames, marked
    alone = _only_span_of_events(spans)
    if alone >= 0 and not sim.poisonous:
        _time_events(sim, totals, alone, frames, window_s)
    else:
        _time_each(sim, totals, frames, window_s, processed)
    for frame in range(first, end):
        weight = weights[frame - first]
        counts[EVENTS_TAKEN] += weight
        for hop in range(sim.hop_count):
            counts[FRAME_HOPS] += not np.isnan(hop_at(sim, frame, hop).value)
        counts[_fate(sim, frame, final)] += weight
        for span in range(len(spans)):
            if spans[span, 0] >= 0 and weight > 0:
                time = hop_at(sim, frame, spans[span, 1]).value - hop_at(sim, frame, spans[span, 0]).value
                _add(totals, span, time, weight)


@plain
def _only_span_of_events(spans: Any) -> int:
    """Returns the span that begins with the intended sending if there is just one, else -1."""
    found = -1
    for span in range(len(spans)):
        if spans[span, 0] < 0:
            if found >= 0:
                return -1
            found = span
    return found


@plain
def _time_events(sim: Any, totals: Any, span: int, frames: Any, window_s: Any) -> None:
    """Counts by frame the events in the window, and their times of one span: the way of every event of most runs."""
    spans, buckets, sums, missing, _, weights = totals
    intended, owners, hops, row = sim.intended, sim.event_frame, sim.hops, sim.hop_count
    (first, end), (start_s, end_s) = frames, window_s
    hop, counts, total = spans[span, 1], buckets[span], sums[span]
    for event in range(sim.event_kept, first_event_at(sim, sim.message).value):
        frame = frame_of(owners, event).value
        if frame < first or frame >= end:
            continue
        sent = number_at(intended, event).value
        if sent < start_s or sent >= end_s:
            continue
        weights[np.uint64(frame - first)] += 1
        time = number_at(hops, frame * row + hop).value - sent
        if np.isnan(time):
            missing[span] += 1
        else:
            counts[np.uint64(bucket_of(time))] += 1
            total += time
    sums[span] = total


@cold
def _time_each(sim: Any, totals: Any, frames: Any, window_s: Any, processed: int) -> None:
    """Does the same for any number of spans, and where some events of a frame go another way than the others."""
    spans, _, _, _, _, weights = totals
    (first, end), (start_s, end_s) = frames, window_s
    for event in range(sim.event_kept, first_event_at(sim, sim.message).value):
        frame = frame_of(sim.event_frame, event).value
        if frame < first or frame >= end:
            continue
        time = number_at(sim.intended, event).value
        if time < start_s or time >= end_s:
            continue
        if sim.poisonous and _was_parted(sim, frame, event):
            _account_parted(sim, totals, frame, time, processed)
            continue
        weights[frame - first] += 1
        for span in range(len(spans)):
            if spans[span, 0] < 0:
                _add(totals, span, hop_at(sim, frame, spans[span, 1]).value - time, 1)


@numba.njit(cache=True, error_model="numpy")
def _count_refused(tables: Any, window_s: Any) -> int:
    """Counts the events that were intended in a window and that the batcher has refused."""
    sim = tables[0]
    count = 0
    for event in range(sim.event_kept, first_event_at(sim, sim.message).value):
        time = number_at(sim.intended, event).value
        count += frame_of(sim.event_frame, event).value == EVENT_SHED and window_s[0] <= time < window_s[1]
    return count

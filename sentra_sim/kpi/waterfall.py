"""One event's way through the pipeline, hop by hop: what a trace viewer draws as a waterfall."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sentra_sim.errors import InputError
from sentra_sim.kpi.compute import end_to_end
from sentra_sim.records import Run, hop_column
from sentra_sim.records.traceids import trace_id
from sentra_sim.scenario import INTENDED, hop_edges
from sentra_sim.units import NS_PER_S


@dataclass(frozen=True)
class Step:
    """A hop: when its event passed the hop before and this one, seconds since the intended send time; None: it never came."""

    hop: str
    after: str
    station: str
    start_s: float | None
    end_s: float | None


@dataclass(frozen=True)
class Waterfall:
    """An event's way.

    Attributes:
        event: Its name, `FRAME/NUMBER`: the frame's id and the event's number within the frame, from 1.
        intended_s: Intended send time, seconds since the run's epoch.
        latency_s: End-to-end time, None when it was not delivered.
        partition: Of the log.
        frame_events: How many events the frame carries.
        poll: The consumer poll that took the frame, None when none did.
        outcome: One of `records.tables.OUTCOMES`.
        trace_id: By which a tracing backend finds the frame; None when the run was not traced.
        steps: In the order of a frame's way. A frame is received when its first event is, so a later event of the frame may be
            intended after that: then the first step ends before zero.
    """

    event: str
    intended_s: float
    latency_s: float | None
    partition: int
    frame_events: int
    poll: int | None
    outcome: str
    trace_id: str | None
    steps: tuple[Step, ...]


def waterfall(run: Run, event: str) -> Waterfall:
    """Returns the way of the event of this name.

    Raises:
        InputError: the name is no `FRAME/NUMBER`, or the run has no such event.
    """
    frame, _, number = event.partition("/")
    if not (frame.isdecimal() and number.isdecimal()):
        raise InputError(f"event: must be FRAME/NUMBER, got {event!r}; `sentra trace RUN --slowest 5` names some")
    rows = np.flatnonzero(run.tables.frames["frame"].to_numpy() == int(frame))
    if not len(rows):
        raise InputError(f"event: must be of a frame of {run.path}, got frame {frame}; `sentra trace RUN` names one")
    row = int(rows[0])
    count = int(run.tables.frames["events"][row])
    if not 1 <= int(number) <= count:
        raise InputError(f"event: must be 1 to {count} of frame {frame}, got {number}; choose one of these")
    return _way(run, row, _first_events(run)[row] + int(number) - 1)


def slowest(run: Run, count: int) -> list[Waterfall]:
    """Returns the ways of the events of the window with the longest end-to-end time, at most one a frame, slowest first.

    Raises:
        InputError: `count` is not positive.
    """
    if count < 1:
        raise InputError(f"slowest: must be 1 or more, got {count}; say how many events to show")
    frames, manifest = run.tables.frames, run.manifest
    row = np.repeat(np.arange(frames.height), frames["events"].to_numpy())
    intended_ns = _intended_ns(run, row)
    start, end = end_to_end(run.manifest.load_scenario())
    latency_ns = _passed(run, end)[row] - (intended_ns if start == INTENDED else _passed(run, start)[row])
    window = (intended_ns >= manifest.warmup_s * NS_PER_S) & (
        intended_ns < (manifest.warmup_s + manifest.seconds) * NS_PER_S
    )
    chosen = np.flatnonzero(window & ~np.isnan(latency_ns))
    chosen = chosen[np.argsort(-latency_ns[chosen], kind="stable")]
    _, best = np.unique(row[chosen], return_index=True)  # each frame's slowest
    return [_way(run, int(row[place]), int(place)) for place in chosen[np.sort(best)[:count]]]


def _way(run: Run, row: int, place: int) -> Waterfall:
    frames = run.tables.frames
    intended_ns = float(_intended_ns(run, np.array([row]), slice(place, place + 1))[0])
    start, end = end_to_end(run.manifest.load_scenario())
    passed = {INTENDED: 0.0} | {hop: _since(frames[hop_column(hop)][row], intended_ns) for hop in run.manifest.hops()}
    edges = hop_edges(run.manifest.load_scenario())
    began, ended = passed[start], passed[end]
    return Waterfall(
        event=f"{frames['frame'][row]}/{place - int(_first_events(run)[row]) + 1}",
        intended_s=intended_ns / NS_PER_S,
        latency_s=None if began is None or ended is None else ended - began,
        partition=frames["partition"][row],
        frame_events=frames["events"][row],
        poll=frames["poll"][row],
        outcome=frames["outcome"][row],
        trace_id=trace_id(run.manifest.trace_run, frames["frame"][row]) if run.manifest.trace_run else None,
        steps=tuple(Step(edge.hop, edge.after, edge.station, passed[edge.after], passed[edge.hop]) for edge in edges),
    )


def _since(at_ns: int | None, intended_ns: float) -> float | None:
    return None if at_ns is None else (at_ns - intended_ns) / NS_PER_S


def _first_events(run: Run) -> NDArray[np.int64]:
    """Returns by frame where its events start in the events table."""
    count = run.tables.frames["events"].to_numpy().astype(np.int64)
    return np.asarray(np.cumsum(count) - count)


def _intended_ns(run: Run, row: NDArray[np.int64], part: slice = slice(None)) -> NDArray[np.float64]:
    first = run.tables.frames[hop_column(run.manifest.hops()[0])].to_numpy()
    return np.asarray(first[row] + run.tables.events["intended_offset_ns"][part].to_numpy(), dtype=np.float64)


def _passed(run: Run, hop: str) -> NDArray[np.float64]:
    """Returns when each frame passed a hop, ns, NaN where it did not."""
    return np.asarray(run.tables.frames[hop_column(hop)].cast(float).fill_null(float("nan")).to_numpy())

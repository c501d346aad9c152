"""The window of a run as arrays: one entry per event whose intended send time lies in the window."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sentra_sim.records import Run, hop_column
from sentra_sim.scenario import INTENDED, HopEdge
from sentra_sim.units import NS_PER_S

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Timeline:
    """Events of the window, in order of intended send time, and the hops of the frames that carried them.

    `intended_s`, `frame`: shape (events,), seconds since the epoch and row of the frame. `hops`: hop → seconds per frame, NaN where
    the frame never got there. `earlier`: the frames of the events before the window. `dropped`: per frame, whether it ended as `shed` or
    `dlq`, so that nobody waits for it any more; None where none did.
    """

    intended_s: Floats
    frame: NDArray[np.int64]
    hops: dict[str, Floats]
    window_s: tuple[float, float]
    earlier: NDArray[np.int64]
    dropped: NDArray[np.bool_] | None = None

    def span(self, start: str, end: str) -> Floats:
        """Returns seconds from hop to hop of every event, shape (events,); NaN where either is missing."""
        return self.at(end) - self.at(start)

    def hop_span(self, edge: HopEdge) -> Floats:
        """Returns seconds of one hop, an entry per event, shape (events,); of the frame's first event after `intended`."""
        if edge.after != INTENDED:
            return self.span(edge.after, edge.hop)
        first = np.full(len(self.hops[edge.hop]), np.inf)
        np.minimum.at(first, self.frame, self.intended_s)
        return np.asarray((self.hops[edge.hop] - first)[self.frame])

    def at(self, hop: str) -> Floats:
        """Returns when every event passed a hop, seconds since the epoch, shape (events,)."""
        return self.intended_s if hop == INTENDED else self.hops[hop][self.frame]


def timeline(run: Run) -> Timeline:
    """Returns the window of a run; see `Manifest` for what belongs to it."""
    frames = run.tables.frames
    hops = {hop: _seconds(frames[hop_column(hop)]) for hop in run.manifest.hops()}
    first = next(iter(hops.values()))
    frame = np.repeat(np.arange(frames.height), frames["events"].to_numpy())
    intended = first[frame]
    intended += run.tables.events["intended_offset_ns"].to_numpy() / NS_PER_S
    start, end = run.manifest.warmup_s, run.manifest.warmup_s + run.manifest.seconds
    dropped = frames["outcome"].is_in(["shed", "dlq"]).to_numpy()
    return window_of(intended, frame, hops, (start, end), dropped if dropped.any() else None)


def window_of(
    intended_s: Floats,
    frame: NDArray[np.int64],
    hops: dict[str, Floats],
    window_s: tuple[float, float],
    dropped: NDArray[np.bool_] | None = None,
) -> Timeline:
    """Cuts the window out of whole-run arrays and puts its events in order of intended send time."""
    start, end = window_s
    # Half a nanosecond of slack: recorded times are whole nanoseconds, the window's edges are not.
    inside = np.flatnonzero((intended_s >= start - 5e-10) & (intended_s < end - 5e-10))
    earlier = frame[intended_s < start - 5e-10]
    taken = intended_s[inside]
    if np.any(taken[1:] < taken[:-1]):  # a simulated run's events are in order already
        inside = inside[np.argsort(taken, kind="stable")]
        taken = intended_s[inside]
    return Timeline(taken, frame[inside], hops, window_s, earlier, dropped)


def _seconds(column: pl.Series) -> Floats:
    return np.asarray(column.cast(pl.Float64).fill_null(np.nan).to_numpy() / NS_PER_S)

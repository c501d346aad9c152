"""Does a process grow? The trend of its memory and of its open descriptors over a run, with an error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sentra_sim.records import OPEN_FDS, PRIVATE_MEMORY, Run
from sentra_sim.stats import TREND_SECTIONS, Interval, trend_interval, warmup_cut

BYTES_PER_MB = 1e6
S_PER_H = 3600.0
ENDS = 20  # start and end are the means of the first and last twentieth

Verdict = Literal["flat", "grows", "undecided", "nodata"]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Bounds:
    """What still counts as flat, per hour."""

    memory_mb: float = 5.0
    descriptors: float = 10.0


@dataclass(frozen=True)
class Trend:
    """One quantity of a process after its warm-up: MB, or descriptors; the slope is per hour.

    `grows`: the whole interval of the slope lies above the bound. `flat`: the whole interval lies below it. `undecided`: it holds
    the bound; a longer run narrows it. `nodata`: not recorded, or too short.
    """

    verdict: Verdict
    cut_s: float = 0.0  # warm-up that was left out, since the run's epoch
    start: float | None = None
    end: float | None = None
    highest: float | None = None
    slope_per_h: Interval | None = None


@dataclass(frozen=True)
class Growth:
    """What a process held over a run."""

    process: str
    memory: Trend
    descriptors: Trend


def growth(run: Run, bounds: Bounds = Bounds()) -> tuple[Growth, ...]:
    """Returns the trend of memory and descriptors of every process of a run, in order of the processes' names.

    The warm-up is the load before the window, and what MSER-5 cuts after it.
    """
    memory = _series(run, PRIVATE_MEMORY)
    descriptors = _series(run, OPEN_FDS)
    from_s = run.manifest.warmup_s
    return tuple(
        Growth(
            process,
            trend(*_of(memory, process), bound_per_h=bounds.memory_mb, from_s=from_s, unit=BYTES_PER_MB),
            trend(*_of(descriptors, process), bound_per_h=bounds.descriptors, from_s=from_s),
        )
        for process in sorted({*memory, *descriptors})
    )


def trend(time_s: Floats, values: Floats, *, bound_per_h: float, from_s: float = 0.0, unit: float = 1.0) -> Trend:
    """Judges one series, shape (n,), sampled about once a second; `values` is divided by `unit`."""
    inside = time_s > from_s
    time_s, values = time_s[inside], values[inside] / unit
    cut = warmup_cut(values)
    time_s, values = time_s[cut:], values[cut:]
    if len(values) < 2 * TREND_SECTIONS:
        return Trend("nodata")
    slope = trend_interval(time_s / S_PER_H, values)
    verdict: Verdict = "undecided"
    if slope.low > bound_per_h:
        verdict = "grows"
    elif slope.high < bound_per_h:
        verdict = "flat"
    end = max(1, len(values) // ENDS)
    return Trend(
        verdict,
        cut_s=float(time_s[0]) - 1.0,
        start=float(values[:end].mean()),
        end=float(values[-end:].mean()),
        highest=float(values.max()),
        slope_per_h=slope,
    )


def _series(run: Run, name: str) -> dict[str, tuple[Floats, Floats]]:
    """Returns time and value by process over the load; what is recorded after it, while the pipeline drains, is left out."""
    end_s = run.manifest.warmup_s + run.manifest.seconds
    rows = run.tables.metrics.filter((pl.col("name") == name) & (pl.col("time_s") <= end_s))
    return {
        str(labels).split('"')[1]: (part["time_s"].to_numpy(), part["value"].to_numpy())
        for (labels,), part in rows.partition_by("labels", as_dict=True, maintain_order=True).items()
    }


def _of(series: dict[str, tuple[Floats, Floats]], process: str) -> tuple[Floats, Floats]:
    return series.get(process, (np.empty(0), np.empty(0)))

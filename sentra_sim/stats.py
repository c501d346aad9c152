"""Estimates with their errors: quantiles, means and trends of autocorrelated output, and the warm-up cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

SECTIONS = 20
TREND_SECTIONS = 8
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """An estimate and its confidence interval, in the unit of the data."""

    value: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half the interval's width."""
        return (self.high - self.low) / 2

    def covers(self, truth: float) -> bool:
        """Tells whether the interval holds a value."""
        return self.low <= truth <= self.high


def quantile_interval(values: Floats, q: float, *, sections: int = SECTIONS, confidence: float = 0.95) -> Interval:
    """Estimates a quantile of time-ordered output, shape (n,), with a sectioning interval.

    The point estimate is the quantile of all values; its error comes from the quantiles of `sections` consecutive parts, so
    that autocorrelation shorter than a part is accounted for (Asmussen & Glynn, Stochastic Simulation, III.5).

    Raises:
        ValueError: fewer values than two a section.

    >>> quantile_interval(np.arange(1000.0), 0.5).value
    499.5
    """
    parts = _sections(values, sections)
    return _around(float(np.quantile(values, q)), np.array([np.quantile(part, q) for part in parts]), confidence)


def mean_interval(values: Floats, *, sections: int = SECTIONS, confidence: float = 0.95) -> Interval:
    """Estimates a mean of time-ordered output, shape (n,), with a batch-means interval.

    Raises:
        ValueError: fewer values than two a section.
    """
    parts = _sections(values, sections)
    return _around(float(np.mean(values)), np.array([np.mean(part) for part in parts]), confidence)


def replication_interval(estimates: Floats, *, confidence: float = 0.95) -> Interval:
    """Returns the mean of independent replications' estimates, shape (n >= 2,), with its Student interval."""
    return _around(float(np.mean(estimates)), np.asarray(estimates, dtype=np.float64), confidence)


def range_over_mean(values: Sequence[float]) -> float | None:
    """Returns how far repeated values lie apart, relative to their mean; None with fewer than two, or a mean of zero.

    >>> range_over_mean([9.0, 10.0, 11.0])
    0.2
    """
    mean = float(np.mean(values)) if len(values) > 1 else 0.0
    return float(np.ptp(values)) / mean if mean else None


def trend_interval(
    times: Floats, values: Floats, *, sections: int = TREND_SECTIONS, confidence: float = 0.95
) -> Interval:
    """Estimates the slope of time-ordered output, shape (n,), per unit of time.

    A line is fitted to the means of `sections` consecutive parts and judged by their scatter around it, so that waves and
    autocorrelation shorter than a part are accounted for (sectioning as in Asmussen & Glynn, Stochastic Simulation, III.5). Few long
    parts cover a slope better than the many lags of a Newey-West variance, whose usual factors do not hold for a trend.

    Raises:
        ValueError: fewer values than two a section.

    >>> round(trend_interval(np.arange(100.0), 3.0 * np.arange(100.0)).value, 9)
    3.0
    """
    at = np.array([part.mean() for part in _sections(times, sections)])
    level = np.array([part.mean() for part in _sections(values, sections)])
    centred = at - at.mean()
    weight = float(centred @ centred)
    slope = float(centred @ level) / weight
    left = level - level.mean() - slope * centred
    spread = np.sqrt(float(left @ left) / (sections - 2) / weight)
    half = float(stdtrit(sections - 2, (1 + confidence) / 2) * spread)
    return Interval(slope, slope - half, slope + half)


def warmup_cut(series: Floats) -> int:
    """Returns how many leading values of `series`, shape (n,), to discard: MSER-5 (White, Cobb & Spratt 2000).

    The cut minimises the standard error of what remains over batches of five, and never exceeds half of the series.

    >>> warmup_cut(np.concatenate([np.full(50, 9.0), np.tile([0.0, 1.0], 200)]))
    50
    """
    batches = len(series) // 5
    if batches < 4:
        return 0
    means = np.asarray(series[: batches * 5], dtype=np.float64).reshape(batches, 5).mean(axis=1)
    left = np.arange(batches, 0, -1)
    sums = np.cumsum(means[::-1])[::-1]
    squares = np.cumsum((means**2)[::-1])[::-1]
    error = (squares - sums**2 / left) / left.astype(np.float64) ** 2
    return int(np.argmin(error[: batches // 2 + 1])) * 5


def _sections(values: Floats, sections: int) -> list[Floats]:
    if len(values) < 2 * sections:
        raise ValueError(f"values: must hold at least {2 * sections} for {sections} sections, got {len(values)}")
    return np.array_split(np.asarray(values, dtype=np.float64), sections)


def _around(value: float, estimates: Floats, confidence: float) -> Interval:
    count = len(estimates)
    spread = np.sqrt(np.sum((estimates - value) ** 2) / (count - 1) / count)
    half = float(stdtrit(count - 1, (1 + confidence) / 2) * spread)
    return Interval(value, value - half, value + half)

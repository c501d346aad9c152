"""Estimates with their errors: quantiles, means and trends of autocorrelated output, and differences of two systems."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from sentra_sim.stats.student import t_quantile

SECTIONS = 20
QUANTILE_SECTIONS = 10  # fewer and longer: whether a tail is exceeded is correlated over long times
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


def quantile_interval(
    values: Floats, q: float, *, sections: int = QUANTILE_SECTIONS, confidence: float = 0.95
) -> Interval:
    """Estimates a quantile of time-ordered output, shape (n,), with an interval that allows for autocorrelation.

    The share of values above the estimate differs from section to section, `sections` consecutive ones; from that comes the error of
    the probability `q`, and the quantiles at both of its ends are those of the interval (batch means of the indicator, inverted:
    Asmussen & Glynn, Stochastic Simulation, III.4-5). At a tail under heavy load it covers more often than an interval from the sections'
    own quantiles, which are biased. It never reaches beyond the values that were seen.

    Raises:
        ValueError: fewer values than two a section.

    >>> quantile_interval(np.arange(1000.0), 0.5).value
    499.5
    """
    parts = _sections(values, sections)
    value = float(np.quantile(values, q))
    above = np.array([np.count_nonzero(part > value) / len(part) for part in parts])
    spread = float(t_quantile(sections - 1, (1 + confidence) / 2) * np.std(above, ddof=1) / np.sqrt(sections))
    low, high = np.quantile(values, [max(0.0, q - spread), min(1.0, q + spread)])
    return Interval(value, float(low), float(high))


def mean_interval(values: Floats, *, sections: int = SECTIONS, confidence: float = 0.95) -> Interval:
    """Estimates a mean of time-ordered output, shape (n,), with a batch-means interval.

    Raises:
        ValueError: fewer values than two a section.
    """
    parts = _sections(values, sections)
    return _around(float(np.mean(values)), np.array([np.mean(part) for part in parts]), confidence)


def share_interval(hits: int, trials: int, *, confidence: float = 0.95) -> Interval:
    """Estimates a probability from independent trials with Wilson's score interval (Wilson 1927), good at 0 and at 1 too.

    Raises:
        ValueError: no trials, or more hits than trials.

    >>> found = share_interval(0, 50)
    >>> round(found.low, 3), round(found.high, 3)
    (0.0, 0.071)
    """
    if not 0 <= hits <= trials or trials == 0:
        raise ValueError(f"trials: must be 1 or more with hits among them, got {hits} hits of {trials}")
    z, share = NormalDist().inv_cdf((1 + confidence) / 2), hits / trials
    middle = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    reach = z / (1 + z * z / trials) * math.sqrt(share * (1 - share) / trials + (z / (2 * trials)) ** 2)
    return Interval(share, max(0.0, middle - reach), min(1.0, middle + reach))


def replication_interval(estimates: Floats, *, confidence: float = 0.95) -> Interval:
    """Returns the mean of independent replications' estimates, shape (n >= 2,), with its Student interval."""
    return _around(float(np.mean(estimates)), np.asarray(estimates, dtype=np.float64), confidence)


def paired_interval(
    one: Floats, other: Floats, *, pooled: tuple[float, float] | None = None, confidence: float = 0.95
) -> Interval:
    """Estimates by how much `other` exceeds `one`, from replications of both with common random numbers, shape (n >= 2,) each.

    Replication i of both has the same seed, so what the seed does to both cancels (Law, Simulation Modeling and Analysis, 11.2).
    With `pooled`, the estimates from all replications' output together, their difference is the value, as in `pooled_interval`.

    Raises:
        ValueError: they are not of one length.

    >>> paired_interval(np.array([1.0, 5.0]), np.array([3.0, 7.0])).value
    2.0
    """
    if len(one) != len(other):
        raise ValueError(f"replications: must be as many of both, got {len(one)} and {len(other)}")
    if pooled is not None and not np.isfinite([*pooled, *one, *other]).all():
        return Interval(np.nan, np.nan, np.nan)
    differences = np.asarray(other) - np.asarray(one)
    value = float(np.mean(differences)) if pooled is None else pooled[1] - pooled[0]
    return _around(value, differences, confidence)


def pooled_interval(pooled: float, estimates: Floats, *, confidence: float = 0.95) -> Interval:
    """Returns an estimate from all replications' output together, with the interval that those of each, shape (n >= 2,), give.

    A quantile of one replication is biased, and more so the shorter it is; that of all together is much less (Asmussen &
    Glynn, Stochastic Simulation, III.5: sectioning, here with the replications as sections).
    """
    if not np.isfinite([pooled, *estimates]).all():
        return Interval(pooled, np.nan, np.nan)
    return _around(pooled, np.asarray(estimates, dtype=np.float64), confidence)


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
    half = float(t_quantile(sections - 2, (1 + confidence) / 2) * spread)
    return Interval(slope, slope - half, slope + half)


def _sections(values: Floats, sections: int) -> list[Floats]:
    if len(values) < 2 * sections:
        raise ValueError(f"values: must hold at least {2 * sections} for {sections} sections, got {len(values)}")
    return np.array_split(np.asarray(values, dtype=np.float64), sections)


def _around(value: float, estimates: Floats, confidence: float) -> Interval:
    count = len(estimates)
    spread = np.sqrt(np.sum((estimates - value) ** 2) / (count - 1) / count)
    half = float(t_quantile(count - 1, (1 + confidence) / 2) * spread)
    return Interval(value, value - half, value + half)

"""Two systems with common random numbers: replicated side by side until their difference is as precise as asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sentra_sim.stats.intervals import Interval, paired_interval
from sentra_sim.stats.precision import LEAST, MOST, Pool, Sample

Verdict = Literal["higher", "lower", "equal", "undecided"]


@dataclass(frozen=True)
class Difference:
    """By how much the other system's value exceeds the one's.

    `one`, `other`: of all replications' output together. `variance_ratio`: variance of the paired differences over the sum of
    both variances, which independent runs would have; None when neither varies. `correlation` of the pairs: None when one does not vary.
    """

    one: float
    other: float
    difference: Interval
    variance_ratio: float | None
    correlation: float | None

    @property
    def relative(self) -> float | None:
        """The difference as a share of the one's value; None where that is not known."""
        return _share(self.difference.value, self.one)

    @property
    def relative_half_width(self) -> float:
        """The interval's half-width as a share of the one's value; infinite where that is not known."""
        half = self.difference.half_width
        share = 0.0 if half == 0.0 else _share(half, self.one)
        return float("inf") if share is None else share

    @property
    def verdict(self) -> Verdict:
        """`higher` or `lower` when the interval excludes zero, `equal` when all replications agree to the last bit."""
        low, high = self.difference.low, self.difference.high
        if low == high == 0.0:
            return "equal"
        return "higher" if low > 0.0 else "lower" if high < 0.0 else "undecided"


@dataclass(frozen=True)
class Comparison:
    """What pairs of replications gave, by name of the values and quantile. `reached`: whether all are as narrow as asked for."""

    differences: dict[tuple[str, float], Difference]
    replications: int
    reached: bool


def until_difference(
    replicate: Callable[[int], tuple[Sample, Sample]],
    quantiles: Sequence[float],
    *,
    relative: float,
    confidence: float = 0.95,
    least: int = LEAST,
    most: int = MOST,
    tell: Callable[[int, float], None] | None = None,
) -> Comparison:
    """Replicates two systems until the half-width of each difference is at most `relative` of the one's value.

    Args:
        replicate: Gives the output of replication i of the one and of the other, with one seed for both; only names that both
            have count.
        quantiles: Which quantiles of each output, from 0 to 1.
        relative: For example 0.02.
        confidence: Of each interval by itself.
        least: Pairs before it may stop.
        most: Pairs after which it gives up.
        tell: Gets, after each pair, their number and the largest half-width so far relative to the one's value (infinite at first).

    Raises:
        ValueError: `relative` is not positive, or `least` is below 2.
    """
    if not relative > 0.0 or least < 2:
        raise ValueError(f"relative: must be > 0 and least >= 2, got {relative} and {least}")
    pools: dict[str, tuple[Pool, Pool]] = {}
    found: dict[tuple[str, float], Difference] = {}
    for number in range(most):
        one, other = replicate(number)
        for name in (name for name in one if name in other):
            pair = pools.setdefault(name, (Pool(quantiles), Pool(quantiles)))
            pair[0].add(one[name])
            pair[1].add(other[name])
        widest = np.inf
        if number > 0:
            found = {(name, q): _difference(*pair, q, confidence) for name, pair in pools.items() for q in quantiles}
            widest = max(difference.relative_half_width for difference in found.values())
        if tell is not None:
            tell(number + 1, float(widest))
        if number + 1 >= least and (widest <= relative or not np.isfinite(widest)):
            return Comparison(found, number + 1, bool(widest <= relative))
    return Comparison(found, most, reached=False)


def _difference(one: Pool, other: Pool, q: float, confidence: float) -> Difference:
    (value, each), (other_value, other_each) = one.estimates(q), other.estimates(q)
    interval = paired_interval(each, other_each, pooled=(value, other_value), confidence=confidence)
    return Difference(value, other_value, interval, *_shared(each, other_each))


def _shared(one: NDArray[np.float64], other: NDArray[np.float64]) -> tuple[float | None, float | None]:
    """Returns the ratio of variances and the correlation."""
    if not np.isfinite([one, other]).all():
        return None, None
    first, second = float(np.var(one, ddof=1)), float(np.var(other, ddof=1))
    if first + second == 0.0:
        return None, None
    ratio = float(np.var(other - one, ddof=1)) / (first + second)
    return ratio, float(np.corrcoef(one, other)[0, 1]) if first and second else None


def _share(part: float, whole: float) -> float | None:
    ratio = part / whole if whole else np.inf
    return float(ratio) if np.isfinite(ratio) else None

"""Replications until an estimate is as precise as asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sentra_sim.stats.intervals import Interval, pooled_interval
from sentra_sim.stats.tally import Tally

LEAST, MOST = 10, 1_000

Sample = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Precision:
    """What replications gave. `intervals`: by name of the values and quantile. `reached`: whether all are as narrow as asked for."""

    intervals: dict[tuple[str, float], Interval]
    replications: int
    reached: bool


class Pool:
    """One output of all replications: its quantiles, and how they differ from replication to replication."""

    def __init__(self, quantiles: Sequence[float]) -> None:
        self._quantiles = tuple(quantiles)
        self._all = Tally()
        self._each: list[list[float]] = [[] for _ in self._quantiles]

    def add(self, values: NDArray[np.float64]) -> None:
        """Takes the output of one more replication, shape (n >= 1,)."""
        one = Tally()
        one.add(values)
        self._all.merge(one)
        for found, q in zip(self._each, self._quantiles, strict=True):
            found.append(one.quantile(q))

    def estimates(self, q: float) -> tuple[float, NDArray[np.float64]]:
        """Returns one of the quantiles: of all replications' output together, and of each."""
        return self._all.quantile(q), np.array(self._each[self._quantiles.index(q)])

    def intervals(self, confidence: float) -> dict[float, Interval]:
        """Returns each quantile with its interval; there must be two replications or more."""
        return {q: pooled_interval(*self.estimates(q), confidence=confidence) for q in self._quantiles}


def until_half_width(
    replicate: Callable[[int], Sample],
    quantiles: Sequence[float],
    *,
    relative: float,
    confidence: float = 0.95,
    least: int = LEAST,
    most: int = MOST,
    tell: Callable[[int, float], None] | None = None,
) -> Precision:
    """Replicates until the half-width of each quantile's interval is at most `relative` of the true value.

    The sequential procedure of Law (Simulation Modeling and Analysis, 9.4.1): it stops at a half-width of `relative / (1 + relative)` of
    the estimate, which bounds the error relative to the true value.

    Args:
        replicate: Gives the output of replication i, by name; each name in each replication, with a value at least.
        quantiles: Which quantiles of each output, from 0 to 1.
        relative: For example 0.02.
        confidence: Of each interval by itself.
        least: Replications before it may stop: with few, an interval that is narrow by chance would end it.
        most: Replications after which it gives up.
        tell: Gets, after each replication, their number and the largest relative half-width so far (infinite at first).

    Raises:
        ValueError: `relative` is not positive, or `least` is below 2.
    """
    if not relative > 0.0 or least < 2:
        raise ValueError(f"relative: must be > 0 and least >= 2, got {relative} and {least}")
    pools: dict[str, Pool] = {}
    found: dict[tuple[str, float], Interval] = {}
    for number in range(most):
        for name, values in replicate(number).items():
            pools.setdefault(name, Pool(quantiles)).add(values)
        widest = np.inf
        if number > 0:
            found = {(name, q): i for name, pool in pools.items() for q, i in pool.intervals(confidence).items()}
            widest = max(relative_half_width(interval) for interval in found.values())
        if tell is not None:
            tell(number + 1, float(widest))
        if number + 1 >= least and (widest <= relative / (1 + relative) or not np.isfinite(widest)):
            return Precision(found, number + 1, bool(widest <= relative / (1 + relative)))
    return Precision(found, most, reached=False)


def relative_half_width(interval: Interval) -> float:
    """Returns half the width over the value; 0 for a value of exactly 0 that never varied, infinite where either is not known."""
    if interval.half_width == 0.0:
        return 0.0
    ratio = interval.half_width / interval.value if interval.value else np.inf
    return float(ratio) if np.isfinite(ratio) else float(np.inf)

"""A tally of many values in little memory: counts by logarithmic bucket, of which any quantile can be asked later."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

RELATIVE = 1e-3
LEAST, MOST = 1e-9, 1e9


class Tally:
    """Counts of values >= 0 in buckets whose edges lie a factor 1 + `relative` apart, and of those that are infinite.

    A quantile is exact to half a bucket: with the default to 0.05 %. Values up to 1e-9 count as 0, beyond 1e9 as infinite. The idea is
    HdrHistogram's and DDSketch's (Masson et al. 2019).

    >>> tally = Tally()
    >>> tally.add(np.arange(1.0, 1001.0))
    >>> round(tally.quantile(0.99) / 990.0, 2)
    1.0
    """

    def __init__(self, relative: float = RELATIVE) -> None:
        self._step = math.log1p(relative)
        self._counts: NDArray[np.int64] = np.zeros(math.ceil(math.log(MOST / LEAST) / self._step) + 2, dtype=np.int64)
        self.infinite = 0

    @property
    def count(self) -> int:
        """How many values it holds, infinite ones included."""
        return int(self._counts.sum()) + self.infinite

    def add(self, values: NDArray[np.float64]) -> None:
        """Counts values, shape (n,); what is not finite counts as infinite."""
        finite = values[np.isfinite(values) & (values < MOST)]
        self.infinite += len(values) - len(finite)
        places = np.ceil(np.log(np.maximum(finite, LEAST) / LEAST) / self._step).astype(np.int64)
        self._counts += np.bincount(places, minlength=len(self._counts))

    def merge(self, other: Tally) -> None:
        """Adds the counts of another tally with the same buckets."""
        self._counts += other._counts
        self.infinite += other.infinite

    def quantile(self, q: float) -> float:
        """Returns the least value that at least a share `q` of all lies below; infinite where the values are, NaN without any."""
        count = self.count
        if not count:
            return math.nan
        rank = max(1, math.ceil(q * count))
        passed = np.cumsum(self._counts)
        if rank > passed[-1]:
            return math.inf
        place = int(np.searchsorted(passed, rank))
        return 0.0 if place == 0 else LEAST * math.exp((place - 0.5) * self._step)

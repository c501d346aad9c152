"""Quantiles of delays in bounded memory, however long the run: counts by bucket, each a thousandth of its value wide."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sentra_sim.units import NS_PER_S

_BITS = 10  # leading bits of a value that tell its bucket, as in an HDR histogram
_BUCKETS = 64 << _BITS


class DelayCounts:
    """Counts delays in whole nanoseconds; a negative one counts as zero."""

    def __init__(self) -> None:
        self._counts = np.zeros(_BUCKETS, dtype=np.int64)
        self._longest_ns = 0

    def add(self, delay_ns: NDArray[np.int64]) -> None:
        """Counts delays, shape (n,)."""
        if not len(delay_ns):
            return
        values = np.maximum(delay_ns, 0)
        self._longest_ns = max(self._longest_ns, int(values.max()))
        np.add.at(self._counts, _bucket(values), 1)

    def quantile_s(self, q: float) -> float | None:
        """Returns the quantile in seconds, the bucket's middle; None without any delay."""
        total = int(self._counts.sum())
        if not total:
            return None
        bucket = int(np.searchsorted(np.cumsum(self._counts), q * (total - 1), side="right"))
        return min(_middle_ns(bucket), self._longest_ns) / NS_PER_S

    @property
    def longest_s(self) -> float | None:
        """The longest delay, exact; None without any."""
        return self._longest_ns / NS_PER_S if self._counts.any() else None


def _bucket(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Values below 2**_BITS are their own bucket; each doubling above has 2**_BITS buckets of the same width."""
    exponent = np.frexp(values.astype(np.float64))[1]  # bits of the value
    shift = np.maximum(exponent - _BITS - 1, 0).astype(np.int64)
    return np.asarray((shift << _BITS) + (values >> shift))


def _middle_ns(bucket: int) -> float:
    shift = max((bucket >> _BITS) - 1, 0)
    return float((bucket - (shift << _BITS)) << shift) + ((1 << shift) - 1) / 2

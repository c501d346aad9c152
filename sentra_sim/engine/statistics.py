"""A run reduced to statistics while it is played: histograms of times, counts, CPU. Its size does not grow with the run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# As HDR histograms do it: buckets of equal ratio, here read off a double's own exponent and first bits of mantissa.
MANTISSA_BITS = 7
LEAST_EXPONENT, MOST_EXPONENT = -30, 20  # from a nanosecond to twelve days
BUCKETS = (MOST_EXPONENT - LEAST_EXPONENT) << MANTISSA_BITS
RELATIVE_ERROR = 2.0 ** -(MANTISSA_BITS + 1)  # of a time between a nanosecond and twelve days: 0.39 %


@dataclass(frozen=True)
class Histogram:
    """Times in buckets, each of which its middle stands for: `RELATIVE_ERROR` is the most that it is off.

    `counts`: times by bucket, shape (BUCKETS,); the first holds all below a nanosecond. `sum_s`: of all times, exact.
    `missing`: how many never ended; they are the longest.
    """

    counts: NDArray[np.int64]
    sum_s: float
    missing: int

    @property
    def count(self) -> int:
        """Number of times, those that never ended included."""
        return int(self.counts.sum()) + self.missing

    @property
    def mean_s(self) -> float:
        """Mean of the times that ended, s; NaN without any."""
        ended = self.count - self.missing
        return self.sum_s / ended if ended else float("nan")

    def quantile(self, q: float) -> float:
        """Returns the least time that at least a share `q` does not exceed, s; infinite among those that never ended.

        NaN without any time.
        """
        if not self.count:
            return float("nan")
        wanted = max(1, int(np.ceil(q * self.count)))
        bucket = int(np.searchsorted(np.cumsum(self.counts), wanted))
        return float(bucket_middles()[bucket]) if bucket < BUCKETS else float("inf")

    def __add__(self, other: Histogram) -> Histogram:
        """Returns the histogram of both runs' times."""
        return Histogram(self.counts + other.counts, self.sum_s + other.sum_s, self.missing + other.missing)


@dataclass(frozen=True)
class Statistics:
    """What is left of a run.

    `spans`: by KPI of a time, over all events intended in the window. `offered`: those events. `taken`, `delivered`, `shed`, `dlq`,
    `lost`: those of them that a frame took, that came to the final hop, that the batcher, the producer or a consumer has refused or
    dropped, whose calls were given up, that brokers lost. `frames`, `polls`: of the whole run.
    `frame_hops`: hops that frames came to. `cpu_s`, `host_busy_s`: see `Trace`.
    """

    window_s: tuple[float, float]
    spans: dict[str, Histogram]
    offered: int
    taken: int
    delivered: int
    shed: int
    dlq: int
    lost: int
    frames: int
    polls: int
    frame_hops: int
    cpu_s: NDArray[np.float64]
    host_busy_s: NDArray[np.float64]

    @property
    def in_flight(self) -> int:
        """Events that the end of the run found under way, those included that the generator had no time to send."""
        return self.offered - self.delivered - self.shed - self.dlq - self.lost


def bucket_middles() -> NDArray[np.float64]:
    """Returns the time that stands for each bucket, s, shape (BUCKETS,)."""
    steps = 1 << MANTISSA_BITS
    exponents = np.repeat(np.arange(LEAST_EXPONENT, MOST_EXPONENT), steps)
    return np.asarray(
        np.ldexp(1.0 + (np.tile(np.arange(steps), MOST_EXPONENT - LEAST_EXPONENT) + 0.5) / steps, exponents)
    )

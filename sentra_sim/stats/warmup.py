"""The warm-up cut."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def warmup_cut(series: NDArray[np.float64]) -> int:
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

"""The paired interval holds the known difference of two queues' means as often as it says."""

from __future__ import annotations

import numpy as np
from scipy.stats import binom

from sentra_sim.stats import paired_interval, replication_interval

SERVICE_RATE, LOW, HIGH = 1.0, 0.6, 0.7
TRUTH = 1.0 / (SERVICE_RATE - HIGH) - 1.0 / (SERVICE_RATE - LOW)  # mean time in M/M/1, by Little's law
TRIALS, PAIRS, CUSTOMERS = 400, 20, 400


def mean_sojourns(rate: float, gaps: np.ndarray, services: np.ndarray, at_first: np.ndarray) -> np.ndarray:
    """Lindley's recursion for many replications at once, shape (replications, customers), begun in the steady state."""
    load = rate / SERVICE_RATE
    # the stationary wait is 0 with 1 - load, else exponential: drawn by inversion, so that both loads share the draw
    wait = np.maximum(0.0, -np.log(at_first / load)) / (SERVICE_RATE - rate)
    total = np.zeros(len(wait))
    for number in range(services.shape[1]):
        total += wait + services[:, number]
        wait = np.maximum(0.0, wait + services[:, number] - gaps[:, number] / rate)
    return total / services.shape[1]


def test_paired_intervals_cover_the_difference_of_two_loads_and_are_narrow() -> None:
    rng = np.random.default_rng(7)
    shape = (TRIALS * PAIRS, CUSTOMERS)
    gaps, services = rng.standard_exponential(shape), rng.standard_exponential(shape) / SERVICE_RATE
    at_first = 1.0 - rng.random(shape[0])
    low, high = (mean_sojourns(rate, gaps, services, at_first).reshape(TRIALS, PAIRS) for rate in (LOW, HIGH))
    found = [paired_interval(one, other) for one, other in zip(low, high, strict=True)]
    covered = sum(interval.covers(TRUTH) for interval in found)
    # differences of 400 customers are skewed, which costs a Student interval of 20 a few points
    assert binom.ppf(0.001, TRIALS, 0.92) <= covered <= binom.ppf(0.999, TRIALS, 0.97)
    alone = [replication_interval(other).half_width for other in high]
    assert np.mean([interval.half_width for interval in found]) < 0.6 * np.mean(alone)

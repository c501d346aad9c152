"""Intervals cover as often as they say, on data as autocorrelated as a queue's, and the warm-up is cut where it ends."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.stats import binom, norm
from scipy.stats import t as student_t

from sentra_sim.stats import SECTIONS, Interval, mean_interval, quantile_interval, replication_interval, warmup_cut
from sentra_sim.stats.intervals import QUANTILE_SECTIONS
from sentra_sim.stats.student import t_quantile

Floats = NDArray[np.float64]
REPETITIONS = 300
LENGTH = 20_000


def ar1(phi: float, rng: np.random.Generator, length: int = LENGTH) -> Floats:
    """Draws a stationary first-order autoregression with unit variance and mean zero."""
    shocks = rng.standard_normal(length) * np.sqrt(1 - phi**2)
    shocks[0] /= np.sqrt(1 - phi**2)
    return np.asarray(lfilter([1.0], [1.0, -phi], shocks), dtype=np.float64)


def coverage(estimate: Callable[[Floats], Interval], truth: float, phi: float, seed: int) -> int:
    """Counts how many of REPETITIONS intervals hold the truth."""
    rng = np.random.default_rng(seed)
    return sum(estimate(ar1(phi, rng)).covers(truth) for _ in range(REPETITIONS))


def expected(nominal: float) -> tuple[float, float]:
    """Returns the counts that a nominal coverage gives, but for one draw in a thousand."""
    low, high = binom.interval(0.999, REPETITIONS, nominal)
    return float(low), float(high)


@pytest.mark.parametrize("phi", [0.0, 0.9])
@pytest.mark.parametrize("q", [0.5, 0.95])
def test_a_quantile_s_interval_covers_as_often_as_it_says(q: float, phi: float) -> None:
    low, high = expected(0.95)
    assert low <= coverage(lambda values: quantile_interval(values, q), norm.ppf(q), phi, seed=7) <= high


def test_the_confidence_can_be_chosen() -> None:
    low, high = expected(0.8)
    assert (
        low
        <= coverage(lambda values: quantile_interval(values, 0.9, confidence=0.8), norm.ppf(0.9), 0.9, seed=8)
        <= high
    )


def test_a_mean_s_interval_covers_as_often_as_it_says() -> None:
    low, high = expected(0.95)
    assert low <= coverage(mean_interval, 0.0, 0.9, seed=9) <= high


def test_sections_shorter_than_the_correlation_would_fail_this_test() -> None:
    def hasty(values: Floats) -> Interval:
        return mean_interval(values, sections=1_000)

    assert coverage(hasty, 0.0, 0.9, seed=9) < expected(0.95)[0]


def test_the_point_estimate_is_the_quantile_of_all_values() -> None:
    values = np.random.default_rng(1).exponential(size=5_000)
    found = quantile_interval(values, 0.99)
    assert found.value == np.quantile(values, 0.99)
    assert found.low < found.value < found.high
    assert found.half_width == pytest.approx((found.high - found.low) / 2)
    assert found.covers(found.value)
    assert not found.covers(found.high + 1e-9)


def test_four_times_the_data_halve_the_interval() -> None:
    rng = np.random.default_rng(2)
    short = np.mean([quantile_interval(ar1(0.5, rng, 5_000), 0.95).half_width for _ in range(60)])
    long = np.mean([quantile_interval(ar1(0.5, rng, 20_000), 0.95).half_width for _ in range(60)])
    assert long / short == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize(
    ("estimate", "sections"),
    [(mean_interval, SECTIONS), (lambda values: quantile_interval(values, 0.95), QUANTILE_SECTIONS)],
)
def test_too_few_values_are_refused(estimate: Callable[[Floats], Interval], sections: int) -> None:
    least = 2 * sections
    with pytest.raises(
        ValueError, match=f"values: must hold at least {least} for {sections} sections, got {least - 1}"
    ):
        estimate(np.zeros(least - 1))
    assert estimate(np.zeros(least)) == Interval(0.0, 0.0, 0.0)


def test_replications_have_student_s_interval() -> None:
    # Mean 10, standard deviation 2 of five replications; t(0.975; 4) = 2.776445.
    found = replication_interval(np.array([8.0, 8.0, 10.0, 12.0, 12.0]))
    half = 2.776445 * 2.0 / np.sqrt(5)
    assert (found.value, found.low, found.high) == pytest.approx((10.0, 10.0 - half, 10.0 + half))


def test_replications_cover_as_often_as_they_say() -> None:
    rng = np.random.default_rng(3)
    low, high = expected(0.95)
    assert low <= sum(replication_interval(rng.normal(5.0, 2.0, 6)).covers(5.0) for _ in range(REPETITIONS)) <= high


def test_the_warm_up_is_cut_where_it_ends() -> None:
    rng = np.random.default_rng(4)
    settled = ar1(0.5, rng, 1_000)
    warm = np.concatenate([10.0 * np.exp(-np.arange(100) / 25.0), np.zeros(900)])
    cut = warmup_cut(settled + warm)
    assert 50 <= cut <= 150
    assert cut % 5 == 0


def test_a_settled_series_loses_next_to_nothing() -> None:
    rng = np.random.default_rng(5)
    cuts = [warmup_cut(rng.standard_normal(1_000)) for _ in range(50)]
    assert np.median(cuts) <= 100


def test_a_series_that_never_settles_loses_half_at_most() -> None:
    assert warmup_cut(np.linspace(100.0, 0.0, 400)) == 200
    assert warmup_cut(np.arange(19.0)) == 0


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 19, 50, 999])
def test_quantiles_of_students_t_are_those_of_scipy(degrees: int) -> None:
    for probability in (0.6, 0.95, 0.975, 0.9995):
        assert t_quantile(degrees, probability) == pytest.approx(student_t.ppf(probability, degrees), rel=1e-11)

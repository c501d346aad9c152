"""Replications go on until the interval is narrow enough, and the interval then holds the truth as often as it says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom, expon

from sentra_sim.cli import main
from sentra_sim.stats import Interval, Tally, paired_interval, relative_half_width, until_half_width
from tests.pipelines import SENTRA

LEAST_OF_200 = int(binom.ppf(0.001, 200, 0.95))


def test_a_tally_tells_quantiles_of_any_size_to_a_thousandth() -> None:
    rng = np.random.default_rng(1)
    for scale in (1e-6, 1.0, 1e4):
        values = rng.lognormal(0.0, 2.0, 50_000) * scale
        tally, half = Tally(), Tally()
        tally.add(values[::2])
        half.add(values[1::2])
        tally.merge(half)
        assert tally.count == 50_000
        for q in (0.01, 0.5, 0.99, 0.9999):
            assert tally.quantile(q) == pytest.approx(np.quantile(values, q, method="inverted_cdf"), rel=6e-4)


def test_what_never_arrived_is_in_the_tail_of_a_tally() -> None:
    tally = Tally()
    tally.add(np.array([0.0, 1.0, 2.0, np.nan]))
    assert tally.quantile(0.25) == 0.0
    assert tally.quantile(0.75) == pytest.approx(2.0, rel=1e-3)
    assert tally.quantile(0.76) == np.inf
    assert np.isnan(Tally().quantile(0.5))


def exponential(seed: int, size: int = 2_000) -> np.ndarray:
    return np.random.default_rng(seed).standard_exponential(size)


def test_replications_end_when_every_quantile_is_precise() -> None:
    told: list[tuple[int, float]] = []
    found = until_half_width(
        lambda number: {"wait": exponential(number)},
        (0.5, 0.99),
        relative=0.02,
        tell=lambda count, widest: told.append((count, widest)),
    )
    assert found.reached
    widest = max(relative_half_width(interval) for interval in found.intervals.values())
    assert widest <= 0.02 / 1.02
    assert [count for count, _ in told] == list(range(1, found.replications + 1))
    assert told[-1][1] == widest
    assert all(before > 0.02 / 1.02 for count, before in told[:-1] if count >= 10)
    assert found.replications > 10  # the P99 takes more than the least number of replications


def test_the_interval_at_which_it_stops_covers_as_often_as_it_says() -> None:
    def covers(start: int) -> bool:
        found = until_half_width(lambda n: {"wait": exponential(start + n, 500)}, (0.9,), relative=0.03)
        return found.intervals["wait", 0.9].covers(float(expon.ppf(0.9)))

    assert sum(covers(10_000 * trial) for trial in range(200)) >= LEAST_OF_200


def test_it_gives_up_on_what_has_no_quantile_or_takes_too_long() -> None:
    never = until_half_width(lambda _: {"wait": np.full(10, np.nan)}, (0.5,), relative=0.1)
    assert (never.reached, never.replications) == (False, 10)
    hasty = until_half_width(lambda n: {"wait": exponential(n, 50)}, (0.99,), relative=1e-4, most=12)
    assert (hasty.reached, hasty.replications) == (False, 12)
    with pytest.raises(ValueError, match="must be > 0 and least >= 2"):
        until_half_width(lambda n: {"wait": exponential(n)}, (0.5,), relative=0.0)


def test_a_constant_is_as_precise_as_can_be_and_an_unknown_is_not() -> None:
    assert relative_half_width(Interval(0.0, 0.0, 0.0)) == 0.0
    assert relative_half_width(Interval(2.0, 1.9, 2.1)) == pytest.approx(0.05)
    assert relative_half_width(Interval(float("inf"), float("nan"), float("nan"))) == np.inf


def test_common_random_numbers_make_a_difference_narrow() -> None:
    """Two systems a hundredth apart: with one seed for both it shows, with seeds of their own it does not."""
    slow = np.array([exponential(seed).mean() for seed in range(20)])
    fast = np.array([0.99 * exponential(seed).mean() for seed in range(20)])
    other = np.array([0.99 * exponential(100 + seed).mean() for seed in range(20)])
    assert paired_interval(fast, slow).low > 0.0
    assert paired_interval(other, slow).low < 0.0
    with pytest.raises(ValueError, match="got 20 and 19"):
        paired_interval(slow, fast[1:])


SMALL = ["simulate", str(SENTRA), "--rate", "5000", "--seconds", "1", "--warmup", "0.5"]


def test_the_command_tells_every_latency_with_its_interval(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "-o", str(tmp_path / "run"), "--until-half-width", "5%", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["reached"] is True
    assert told["replications"] >= 10
    assert told["warmup_s"] >= 0.5
    assert set(told["kpis"]) == {f"{span}_{q}_s" for span in ("e2e", "staleness") for q in ("p50", "p95", "p99")}
    for interval in told["kpis"].values():
        assert interval["low"] < interval["value"] < interval["high"]
        assert interval["high"] - interval["low"] <= 2 * 0.05 * interval["value"]
    assert (tmp_path / "run" / "manifest.json").is_file()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--until-half-width", "2"], "--until-half-width: must lie between 0% and 100%, got '2'"),
        (["--until-half-width", "tight"], "got 'tight'; write for example 2%"),
        (["--until-half-width", "2%", "--max-replications", "1"], "--max-replications: must be at least 2, got 1"),
    ],
)
def test_a_precision_that_cannot_be_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], complaint: str
) -> None:
    assert main([*SMALL, "-o", str(tmp_path / "run"), *options]) == 2
    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_precision_that_is_not_reached_is_an_exit_code_of_one(tmp_path: Path) -> None:
    options = ["--until-half-width", "0.0001%", "--max-replications", "3", "--json"]
    assert main([*SMALL, "-o", str(tmp_path / "run"), *options]) == 1

"""A plan's draws: the same for the same seed, shared between scenarios, taken over when only numbers change."""

from typing import Any

import numpy as np
import pytest

from sentra_sim.engine import prepare, run
from sentra_sim.engine.numbers import Numbers
from sentra_sim.scenario.schema import Noise
from tests.pipelines import bare, sentra


def test_the_seed_decides_everything() -> None:
    scenario = sentra({"load.arrivals": "poisson", "stations.worker.process.noise": {"dist": "exponential"}})
    one, same, other = (prepare(scenario, seconds=1.0, seed=seed) for seed in (7, 7, 8))
    for key, numbers in one.multipliers.items():
        np.testing.assert_array_equal(numbers.first(100), same.multipliers[key].first(100))
    np.testing.assert_array_equal(one.offered.intended_s, same.offered.intended_s)
    process = ("worker/1", "process")
    assert not np.array_equal(one.multipliers[process].first(100), other.multipliers[process].first(100))
    assert one.phase == same.phase
    assert one.phase != other.phase


def test_scenarios_with_one_seed_share_the_streams_of_their_common_stations() -> None:
    """Another linger means more or fewer frames, and so other blocks; the numbers are the same."""
    noisy = {"stations.postgres.demand.noise": {"dist": "lognormal", "cv": 0.5}}
    short = prepare(sentra(noisy | {"stations.gateway.linger_s": 0.005}), seconds=1.0, seed=3)
    long = prepare(
        sentra(noisy | {"stations.gateway.linger_s": 0.05, "stations.worker.replicas": 2}), seconds=1.0, seed=3
    )
    few, many = (plan.multipliers["postgres", "demand"].blocks() for plan in (long, short))
    one, other = next(few), np.concatenate([next(many), next(many)])
    assert len(one) < len(other)
    np.testing.assert_array_equal(one, other[: len(one)])


def test_brokers_run_their_background_jobs_at_different_times() -> None:
    phases = [value for key, value in prepare(sentra(), seconds=1.0, seed=1).phase.items() if key[1] == "background-0"]
    assert len(set(phases)) == 3
    assert all(0.0 <= phase < 1.0 for phase in phases)


def test_a_fit_takes_over_the_draws_and_gets_the_same_run() -> None:
    before = sentra({"stations.worker.process.noise": {"dist": "exponential"}})
    after = sentra(
        {
            "stations.worker.process": {"job_s": 5e-4, "event_s": 2e-6, "noise": {"dist": "exponential"}},
            "stations.gateway.linger_s": 0.005,
            "stations.redis.delay": {"mean_s": 1e-3, "noise": {"dist": "lognormal", "cv": 1.0}},
        }
    )
    plan = prepare(before, seconds=1.0, seed=5)
    again = prepare(after, seconds=1.0, seed=5, like=plan)
    assert again.offered is plan.offered
    assert again.partition is plan.partition
    np.testing.assert_array_equal(run(again).hops_s, run(prepare(after, seconds=1.0, seed=5)).hops_s)


def test_a_plan_of_another_load_is_drawn_anew() -> None:
    plan = prepare(sentra(), seconds=1.0, seed=5)
    other = prepare(sentra({"load.rate_eps": 1000.0}), seconds=1.0, seed=5, like=plan)
    assert len(other.offered.intended_s) == 1000
    more = prepare(sentra({"stations.kafka.partitions": 12}), seconds=1.0, seed=5, like=plan)
    assert more.partition.max() == 11


def test_a_plan_of_another_seed_is_refused() -> None:
    plan = prepare(bare(), seconds=1.0, seed=5)
    with pytest.raises(ValueError, match=r"like: must have seconds 1\.0 and seed 6, got 1\.0 and 5"):
        prepare(bare(), seconds=1.0, seed=6, like=plan)


@pytest.mark.parametrize(
    ("noise", "cv"),
    [
        (Noise(dist="exponential"), 1.0),
        (Noise(dist="lognormal", cv=0.4), 0.4),
        (Noise(dist="quantiles", quantiles=(0.5, 1.0, 1.5)), 1 / np.sqrt(12)),
        (Noise(), 0.0),
    ],
)
def test_noise_has_mean_one_and_the_spread_asked_for(noise: Noise, cv: float) -> None:
    changes = {
        "stations.source.send": {"job_s": 1e-3, "noise": noise.model_dump(mode="json")},
        "load.rate_eps": 50_000.0,
    }
    drawn = prepare(bare(changes), seconds=2.0, seed=1).multipliers["source", "send"].first(100_000)
    error = 4 * max(cv, 1e-12) / np.sqrt(len(drawn))  # four standard errors
    assert abs(drawn.mean() - 1.0) <= error
    assert drawn.std() == pytest.approx(cv, rel=0.03)


@pytest.mark.parametrize("dist", ["exponential", "lognormal", "quantiles"])
def test_where_blocks_end_changes_no_number(dist: str) -> None:
    noise = Noise.model_validate({"dist": dist, "cv": 0.7, "quantiles": [0.5, 0.9, 1.3] if dist == "quantiles" else []})
    one, many = (Numbers(noise, 3, "station", "work", jobs=jobs, kept=jobs > 64) for jobs in (64, 4096))
    np.testing.assert_array_equal(one.first(10_000), many.first(10_000))
    np.testing.assert_array_equal(one.first(10_000), one.first(10_000))  # each reader begins at the start


@pytest.mark.parametrize("changes", [{}, {"load.tick_s": 0.0, "load.arrivals": "poisson", "load.rate_eps": 9000.0}])
def test_a_plan_that_is_drawn_as_it_goes_plays_the_same_run(changes: dict[str, Any]) -> None:
    scenario = sentra(changes | {"stations.worker.process.noise": {"dist": "lognormal", "cv": 1.0}})
    kept, flowing = (prepare(scenario, seconds=5.0, seed=5, keep=keep) for keep in (True, False))
    expected = run(kept)
    for trace in (run(flowing), run(flowing)):
        np.testing.assert_array_equal(trace.frame, expected.frame)
        np.testing.assert_array_equal(trace.hops_s, expected.hops_s)


def test_events_that_never_left_the_generator_are_in_the_trace() -> None:
    """A generator of one event a second, offered 10,000 a second: most wait when the run ends."""
    scenario = bare({"load.rate_eps": 10_000.0, "stations.source.send": {"job_s": 1.0}})
    trace = run(prepare(scenario, seconds=4.0, seed=1, keep=False))
    assert len(trace.frame) == 40_000
    assert (trace.frame >= 0).sum() == 13

"""A plan's draws: the same for the same seed, shared between scenarios, taken over when only numbers change."""

import numpy as np
import pytest

from sentra_sim.engine import prepare, run
from sentra_sim.scenario.schema import Noise
from tests.pipelines import bare, sentra


def test_the_seed_decides_everything() -> None:
    scenario = sentra({"load.arrivals": "poisson", "stations.worker.process.noise": {"dist": "exponential"}})
    one, same, other = (prepare(scenario, seconds=1.0, seed=seed) for seed in (7, 7, 8))
    for key, numbers in one.multipliers.items():
        np.testing.assert_array_equal(numbers, same.multipliers[key])
    np.testing.assert_array_equal(one.offered.intended_s, same.offered.intended_s)
    assert not np.array_equal(one.multipliers["worker/1", "process"], other.multipliers["worker/1", "process"])
    assert one.phase == same.phase
    assert one.phase != other.phase


def test_scenarios_with_one_seed_share_the_streams_of_their_common_stations() -> None:
    """Another linger means another bound on frames; the numbers that both draw are the same."""
    noisy = {"stations.postgres.demand.noise": {"dist": "lognormal", "cv": 0.5}}
    short = prepare(sentra(noisy | {"stations.gateway.linger_s": 0.005}), seconds=1.0, seed=3)
    long = prepare(
        sentra(noisy | {"stations.gateway.linger_s": 0.05, "stations.worker.replicas": 2}), seconds=1.0, seed=3
    )
    few, many = long.multipliers["postgres", "demand"], short.multipliers["postgres", "demand"]
    assert len(few) < len(many)
    np.testing.assert_array_equal(few, many[: len(few)])


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
    drawn = prepare(bare(changes), seconds=2.0, seed=1).multipliers["source", "send"]
    error = 4 * max(cv, 1e-12) / np.sqrt(len(drawn))  # four standard errors
    assert abs(drawn.mean() - 1.0) <= error
    assert drawn.std() == pytest.approx(cv, rel=0.03)


def test_no_station_runs_out_of_numbers() -> None:
    """The bound on frames holds when every frame closes by linger, and when every frame closes by size."""
    for changes in ({"load.rate_eps": 3000.0}, {"load.rate_eps": 50_000.0, "stations.gateway.max_events": 10}):
        plan = prepare(sentra(changes), seconds=2.0, seed=2)
        assert len(run(plan).events) <= plan.max_frames

"""What must hold of any queue: more load is never better, more workers never worse, and the unit of time does not matter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentra_sim.engine import prepare, run
from sentra_sim.scenario import Scenario
from tests.pipelines import bare, event_times

NOISES = st.sampled_from(
    [
        {"dist": "constant"},
        {"dist": "exponential"},
        {"dist": "lognormal", "cv": 1.5},
        {"dist": "quantiles", "quantiles": [0.2, 0.8, 1.0, 1.2, 1.8]},
    ]
)
EXAMPLES = 25


def queue(rate_eps: float, noise: dict[str, Any], *, threads: int = 2, cores: int = 2, scale: float = 1.0) -> Scenario:
    """Events one by one through a station of some threads: no batches, which more load would fill sooner."""
    return bare(
        {
            "load.rate_eps": rate_eps / scale,
            "load.arrivals": "poisson",
            "hosts.box": {"cores": cores, "slice_s": 1e3 * scale},
            "stations.batcher.linger_s": 0.01 * scale,
            "stations.log.host": "box",
            "stations.log.threads": threads,
            "stations.log.append": {"job_s": 2e-3 * scale, "noise": noise},
        }
    )


def latencies(scenario: Scenario, *, seconds: float, seed: int) -> np.ndarray:
    plan = prepare(scenario, seconds=seconds, seed=seed)
    return event_times(scenario, run(plan), "acked") - plan.offered.intended_s


@given(noise=NOISES, rate_eps=st.floats(200.0, 800.0), more=st.floats(1.01, 2.0), seed=st.integers(0, 1_000))
@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
def test_more_load_never_lowers_the_p99(noise: dict[str, Any], rate_eps: float, more: float, seed: int) -> None:
    """With common random numbers: the same events with the same demands, closer together."""
    slow = latencies(queue(rate_eps, noise), seconds=10.0 * more, seed=seed)
    fast = latencies(queue(rate_eps * more, noise), seconds=10.0, seed=seed)
    events = min(len(slow), len(fast))
    assert np.all(fast[:events] >= slow[:events] - 1e-9)
    assert np.quantile(fast[:events], 0.99) >= np.quantile(slow[:events], 0.99) - 1e-9


@given(noise=NOISES, rate_eps=st.floats(200.0, 900.0), threads=st.integers(1, 4), seed=st.integers(0, 1_000))
@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
def test_another_worker_never_raises_the_p99(noise: dict[str, Any], rate_eps: float, threads: int, seed: int) -> None:
    """Each worker with a core of its own."""
    few = latencies(queue(rate_eps, noise, threads=threads, cores=threads), seconds=10.0, seed=seed)
    many = latencies(queue(rate_eps, noise, threads=threads + 1, cores=threads + 1), seconds=10.0, seed=seed)
    assert np.nanquantile(many, 0.99) <= np.nanquantile(few, 0.99) + 1e-9


@given(noise=NOISES, scale=st.sampled_from([0.25, 0.5, 2.0, 8.0]), seed=st.integers(0, 1_000))
@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
def test_a_pipeline_k_times_as_slow_under_a_load_k_times_as_low_is_k_times_as_late(
    noise: dict[str, Any], scale: float, seed: int
) -> None:
    """A power of two changes only exponents of numbers, so this holds to the last bit."""
    plain = latencies(queue(700.0, noise), seconds=5.0, seed=seed)
    scaled = latencies(queue(700.0, noise, scale=scale), seconds=5.0 * scale, seed=seed)
    np.testing.assert_array_equal(scaled, plain * scale)


@pytest.mark.parametrize("tenants", [2, 5])
def test_it_does_not_matter_to_the_queues_whose_the_keys_are(tenants: int) -> None:
    """Keys go to partitions, tenants only own them: another division of the same keys changes no event."""

    def taken(tenants: int) -> np.ndarray:
        changes = {"load.rate_eps": 500.0, "load.arrivals": "poisson", "load.keys": 60, "load.tenants": tenants}
        append = {"stations.log.host": "box", "stations.log.append": {"job_s": 1.5e-3}, "stations.log.partitions": 3}
        return latencies(bare(changes | append), seconds=5.0, seed=2)

    np.testing.assert_array_equal(taken(tenants), taken(1))

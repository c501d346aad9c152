"""The engines against queues whose answer is known, each within a confidence interval computed from the runs."""

import math

import numpy as np
import pytest

from sentra_sim.engine import prepare, run
from sentra_sim.stats import replication_interval
from tests.pipelines import bare
from tests.theory.queues import (
    RATE_EPS,
    append_queue,
    assert_holds,
    mean_sojourn,
    quantile_sojourn,
    receive_queue,
    sojourns,
)

EXPONENTIAL = {"dist": "exponential"}
CONSTANT = {"dist": "constant"}
UNEVEN = {"dist": "lognormal", "cv": 1.3}
HEAVY = {"dist": "lognormal", "cv": 2.0}


def erlang_c(servers: int, offered: float) -> float:
    """Returns the probability that an arrival at M/M/c waits (Erlang's second formula)."""
    terms = [offered**k / math.factorial(k) for k in range(servers)]
    last = offered**servers / math.factorial(servers) / (1 - offered / servers)
    return last / (sum(terms) + last)


def mmc_sojourn_s(servers: int, utilisation: float) -> float:
    """Returns the mean sojourn time at M/M/c with the tests' arrival rate."""
    service_s = utilisation * servers / RATE_EPS
    wait_s = erlang_c(servers, utilisation * servers) * service_s / (servers * (1 - utilisation))
    return service_s + wait_s


@pytest.mark.parametrize("utilisation", [0.3, 0.7])
def test_one_exponential_thread_is_mm1(utilisation: float) -> None:
    service_s = utilisation / RATE_EPS
    assert_holds(mean_sojourn(receive_queue(utilisation, EXPONENTIAL), "received"), service_s / (1 - utilisation))


def test_the_tail_of_mm1_is_exponential() -> None:
    mean_s = 0.7 / RATE_EPS / (1 - 0.7)
    assert_holds(quantile_sojourn(receive_queue(0.7, EXPONENTIAL), "received", 0.99), -math.log(0.01) * mean_s)


def test_a_faster_host_serves_the_same_queue_sooner() -> None:
    """Speed 2 halves the service: utilisation 1.4 on a host of speed 1 is 0.7 here."""
    assert_holds(mean_sojourn(receive_queue(1.4, EXPONENTIAL, speed=2.0), "received"), 0.7 / RATE_EPS / (1 - 0.7))


@pytest.mark.parametrize("utilisation", [0.5, 0.8])
def test_one_thread_of_constant_demand_is_md1(utilisation: float) -> None:
    service_s = utilisation / RATE_EPS
    wait_s = utilisation * service_s / (2 * (1 - utilisation))
    assert_holds(mean_sojourn(receive_queue(utilisation, CONSTANT), "received"), service_s + wait_s)


def test_one_thread_of_any_demand_follows_pollaczek_and_khinchine() -> None:
    service_s = 0.5 / RATE_EPS
    wait_s = 0.5 * service_s * (1 + UNEVEN["cv"] ** 2) / (2 * (1 - 0.5))
    assert_holds(mean_sojourn(receive_queue(0.5, UNEVEN), "received"), service_s + wait_s)


@pytest.mark.parametrize(("servers", "utilisation"), [(2, 0.7), (4, 0.8)])
def test_several_exponential_threads_are_mmc(servers: int, utilisation: float) -> None:
    scenario = append_queue(utilisation, EXPONENTIAL, threads=servers, cores=servers)
    assert_holds(mean_sojourn(scenario, "acked"), mmc_sojourn_s(servers, utilisation))


@pytest.mark.parametrize("noise", [EXPONENTIAL, HEAVY, CONSTANT], ids=["exponential", "lognormal", "constant"])
def test_processor_sharing_does_not_mind_the_distribution(noise: dict[str, object]) -> None:
    """M/G/1-PS: the mean sojourn time is that of M/M/1, whatever the distribution of demand."""
    scenario = append_queue(0.6, noise, threads=400, cores=1, discipline="ps")
    assert_holds(mean_sojourn(scenario, "acked"), 0.6 / RATE_EPS / (1 - 0.6))


def test_processor_sharing_is_fair() -> None:
    """M/G/1-PS: a job of demand x takes x / (1 - rho) on average, long or short: the slope of sojourn on demand is that."""
    scenario = append_queue(0.6, EXPONENTIAL, threads=400, cores=1, discipline="ps")
    slopes: dict[str, list[float]] = {"short": [], "long": []}
    for seed in range(30):
        plan = prepare(scenario, seconds=40.0, seed=seed)
        demand = plan.multipliers["log/1", "append"].first(len(plan.partition)) * 0.6 / RATE_EPS
        taken = run(plan).hops_s[:, 2] - plan.offered.intended_s
        kept = plan.offered.intended_s > 8.0
        for name, group in (("short", demand < 0.3 / RATE_EPS), ("long", demand > 1.2 / RATE_EPS)):
            slopes[name].append(taken[kept & group].sum() / demand[kept & group].sum())
    for found in slopes.values():
        assert_holds(replication_interval(np.array(found), confidence=0.999), 1 / (1 - 0.6))


def test_processor_sharing_on_several_cores_has_the_mean_of_mmc() -> None:
    """With exponential demands the number of jobs present does not depend on who is served."""
    scenario = append_queue(0.7, EXPONENTIAL, threads=400, cores=3, discipline="ps")
    assert_holds(mean_sojourn(scenario, "acked"), mmc_sojourn_s(3, 0.7))


def test_a_short_slice_comes_near_processor_sharing() -> None:
    """Round robin tends to processor sharing as its slice shrinks; with a slice longer than any job it is plain FIFO."""
    sharing_s = 0.6 / RATE_EPS / (1 - 0.6)
    fifo_s = 0.6 / RATE_EPS * (1 + 0.6 * (1 + UNEVEN["cv"] ** 2) / (2 * (1 - 0.6)))
    whole = append_queue(0.6, UNEVEN, threads=400, cores=1, slice_s=1.0)
    assert_holds(mean_sojourn(whole, "acked"), fifo_s)
    sliced = append_queue(0.6, UNEVEN, threads=400, cores=1, slice_s=2e-5)
    found_s = np.mean([sojourns(sliced, "acked", seed=seed).mean() for seed in range(5)])
    assert abs(found_s - sharing_s) < 0.2 * (fifo_s - sharing_s)


@pytest.mark.parametrize("discipline", ["fifo-slice", "ps"])
def test_low_priority_work_on_the_same_core_is_not_felt(discipline: str) -> None:
    """Preemptive priority: the batcher's queue stays M/M/1 though a low-priority job takes 40 % of its only core."""
    scenario = bare(
        {
            "load.rate_eps": RATE_EPS,
            "load.arrivals": "poisson",
            "hosts.box": {"cores": 1, "discipline": discipline},
            "stations.batcher.host": "box",
            "stations.batcher.receive": {"job_s": 0.5 / RATE_EPS, "noise": EXPONENTIAL},
            "stations.group.host": "box",
            "stations.group.low_priority": True,
            "stations.group.background": [{"every_s": 0.05, "demand": {"job_s": 0.02}}],
        }
    )
    assert_holds(mean_sojourn(scenario, "received"), 0.5 / RATE_EPS / (1 - 0.5))
    plan = prepare(scenario, seconds=20.0, seed=1)
    assert run(plan).cpu_s.sum() == pytest.approx(20.0 * (0.5 + 0.4), rel=0.05)


@pytest.mark.parametrize(
    "scenario",
    [
        receive_queue(0.7, EXPONENTIAL),
        append_queue(0.7, EXPONENTIAL, threads=3, cores=3),
        append_queue(0.6, HEAVY, threads=400, cores=1, discipline="ps"),
    ],
    ids=["mm1", "mmc", "mg1-ps"],
)
def test_both_engines_give_the_same_queue(scenario) -> None:
    plan = prepare(scenario, seconds=2.0, seed=4)
    np.testing.assert_array_equal(run(plan).hops_s, run(plan, engine="reference").hops_s)

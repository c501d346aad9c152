"""More queues whose answer is known: recursions to the last bit, networks, batches with a timeout, laws of conservation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sentra_sim.engine import prepare, run
from sentra_sim.stats import mean_interval, quantile_interval, replication_interval
from tests.pipelines import bare, event_times, hop_times
from tests.theory.queues import CONFIDENCE, RATE_EPS, assert_holds, mean_sojourn, receive_queue, sojourns

EXPONENTIAL = {"dist": "exponential"}
SECONDS = 40.0


def arrivals(due_s: np.ndarray) -> np.ndarray:
    """Returns when a generator that waits from one due time to the next sends: the due times, as its clock rounds them."""
    sent, now = np.empty(len(due_s)), 0.0
    for number, due in enumerate(due_s.tolist()):
        now = sent[number] = now + (due - now)
    return sent


def lindley(arrived_s: np.ndarray, service_s: np.ndarray) -> np.ndarray:
    """Returns departures from a single server in order of arrival: D_n = max(A_n, D_n-1) + S_n (Lindley 1952)."""
    left = np.empty(len(arrived_s))
    last = 0.0
    for number, (at, takes) in enumerate(zip(arrived_s.tolist(), service_s.tolist(), strict=True)):
        last = left[number] = max(at, last) + takes
    return left


def kiefer_wolfowitz(arrived_s: np.ndarray, service_s: np.ndarray, servers: int) -> np.ndarray:
    """Returns departures from several servers in order of arrival: each takes the one that is free first (Kiefer & Wolfowitz 1955)."""
    free_s = [0.0] * servers
    left = np.empty(len(arrived_s))
    for number, (at, takes) in enumerate(zip(arrived_s.tolist(), service_s.tolist(), strict=True)):
        first = min(range(servers), key=free_s.__getitem__)
        free_s[first] = left[number] = max(at, free_s[first]) + takes
    return left


def test_one_thread_is_lindley_s_recursion_to_the_last_bit() -> None:
    scenario = receive_queue(0.9, EXPONENTIAL, slice_s=1e3)
    plan = prepare(scenario, seconds=SECONDS, seed=7)
    service_s = 0.9 / RATE_EPS * plan.multipliers["batcher", "receive"].first(len(plan.offered.intended_s))
    expected_s = lindley(arrivals(plan.offered.intended_s), service_s)
    for engine in ("compiled", "reference"):
        found_s = event_times(scenario, run(plan, engine=engine), "received")
        np.testing.assert_array_equal(found_s, expected_s)


def test_several_threads_are_the_recursion_of_kiefer_and_wolfowitz_to_the_last_bit() -> None:
    servers = 3
    scenario = bare(
        {
            "load.rate_eps": RATE_EPS,
            "load.arrivals": "poisson",
            "hosts.box": {"cores": servers, "slice_s": 1e3},
            "stations.log.host": "box",
            "stations.log.threads": servers,
            "stations.log.append": {"job_s": 0.9 * servers / RATE_EPS, "noise": EXPONENTIAL},
        }
    )
    plan = prepare(scenario, seconds=10.0, seed=7)
    arrived_s = arrivals(plan.offered.intended_s)
    service_s = 0.9 * servers / RATE_EPS * plan.multipliers["log/1", "append"].first(len(arrived_s))
    found_s = event_times(scenario, run(plan), "acked")
    np.testing.assert_array_equal(found_s, kiefer_wolfowitz(arrived_s, service_s, servers))


def test_a_leader_and_its_follower_are_jackson_s_tandem() -> None:
    """What leaves M/M/1 is Poisson (Burke 1956), so the queue behind it is M/M/1 as if it stood alone: the means add up."""
    append, replicate = 0.6, 0.7
    scenario = bare(
        {
            "load.rate_eps": RATE_EPS,
            "load.arrivals": "poisson",
            "hosts.box": {"cores": 2},  # a core for each of them
            "stations.log.host": "box",
            "stations.log.brokers": 2,
            "stations.log.replication_factor": 2,
            "stations.log.append": {"job_s": append / RATE_EPS, "noise": EXPONENTIAL},
            "stations.log.replicate": {"job_s": replicate / RATE_EPS, "noise": EXPONENTIAL},
        }
    )
    expected_s = append / RATE_EPS / (1 - append) + replicate / RATE_EPS / (1 - replicate)
    assert_holds(mean_sojourn(scenario, "acked"), expected_s)


@pytest.mark.parametrize(("events", "linger_s"), [(10, 0.005), (5, 0.01), (1000, 0.004)])
def test_batches_of_size_or_linger_are_as_large_and_as_late_as_poisson_arrivals_make_them(
    events: int, linger_s: float
) -> None:
    """A frame closes at N events, or T after its first.

    Of the N - 1 that may follow, those come that a Poisson process of mean lambda*T brings; a frame lasts the shorter of T and an
    Erlang(N - 1) time.
    """
    arriving = RATE_EPS * linger_s
    counts = np.arange(events - 1)
    poisson = np.exp(-arriving + counts * math.log(arriving) - np.array([math.lgamma(k + 1) for k in counts]))
    size = 1 + float(counts @ poisson) + (events - 1) * (1 - float(poisson.sum()))
    open_s = (size - 1) / RATE_EPS  # by Wald's identity: the events that follow come at rate lambda while it is open
    scenario = bare(
        {
            "load.rate_eps": RATE_EPS,
            "load.arrivals": "poisson",
            "stations.batcher.max_events": events,
            "stations.batcher.linger_s": linger_s,
        }
    )
    sizes, opened = [], []
    for seed in range(20):
        trace = run(prepare(scenario, seconds=SECONDS, seed=seed))
        sizes.append(trace.events.mean())
        opened.append((hop_times(scenario, trace, "closed") - hop_times(scenario, trace, "received")).mean())
    assert_holds(replication_interval(np.array(sizes), confidence=CONFIDENCE), size)
    if events < 1000:
        assert_holds(replication_interval(np.array(opened), confidence=CONFIDENCE), open_s)
    else:  # never full: every frame lasts for the linger
        np.testing.assert_allclose(opened, linger_s, rtol=1e-9)


def test_little_s_law_holds_in_every_run() -> None:
    """Mean number present = rate times mean sojourn, whatever the queue (Little 1961): a check of the books, not of a law of chance."""
    scenario = receive_queue(0.8, {"dist": "lognormal", "cv": 2.0})
    plan = prepare(scenario, seconds=SECONDS, seed=3)
    left_s = event_times(scenario, run(plan), "received")
    arrived_s = plan.offered.intended_s
    end_s = float(left_s.max())
    edges = np.sort(np.concatenate([arrived_s, left_s]))
    present = np.searchsorted(arrived_s, edges, side="right") - np.searchsorted(np.sort(left_s), edges, side="right")
    area = float(np.sum(present[:-1] * np.diff(edges)))
    assert area / end_s == pytest.approx(len(arrived_s) / end_s * np.mean(left_s - arrived_s), rel=1e-9)


@pytest.mark.parametrize("discipline", ["fifo-slice", "ps"])
def test_the_host_is_busy_for_exactly_the_work_that_it_was_given(discipline: str) -> None:
    """The utilisation law: cores kept busy = rate times demand, however the host shares them."""
    scenario = receive_queue(0.7, EXPONENTIAL, discipline=discipline)
    plan = prepare(scenario, seconds=SECONDS, seed=5)
    demand_s = 0.7 / RATE_EPS * plan.multipliers["batcher", "receive"].first(len(plan.offered.intended_s)).sum()
    assert run(plan).cpu_s.sum() == pytest.approx(demand_s, rel=1e-9)


def test_nominal_intervals_of_mean_and_p99_cover_as_often_as_they_say() -> None:
    """M/M/1 at utilisation 0.8, one run each; the sojourn time is exponential, so its P99 is known."""
    mean_s = 0.8 / RATE_EPS / (1 - 0.8)
    scenario = receive_queue(0.8, EXPONENTIAL, slice_s=1e3)
    found = [sojourns(scenario, "received", seed=seed, seconds=100.0) for seed in range(400)]
    tails = np.mean([quantile_interval(values, 0.99).covers(-math.log(0.01) * mean_s) for values in found])
    means = np.mean([mean_interval(values).covers(mean_s) for values in found])
    assert 0.93 <= tails <= 0.97
    assert 0.93 <= means <= 0.97

"""Lanes of the log before one server: waiting by class as Cobham has it, what no order of service can change, how fair fair is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sentra_sim.engine import prepare, run
from sentra_sim.scenario import Scenario
from sentra_sim.stats import replication_interval
from tests.pipelines import bare, event_times, hop_times
from tests.theory.queues import CONFIDENCE, RATE_EPS, WARMUP, assert_holds

SHARES = (0.3, 0.7)  # of the events, by tenant; each has a lane
SECONDS = 40.0


def two_classes(utilisation: float, noise: dict[str, Any], service: str) -> Scenario:
    """A consumer that takes one event at a time as M/G/1 with two classes, the first one first."""
    return bare(
        {
            "load": {"rate_eps": RATE_EPS, "arrivals": "poisson", "tick_s": 0.0, "keys": 100, "tenants": 2}
            | {"tenant_weights": SHARES},
            "hosts.box": {"cores": 1, "slice_s": 1e3},
            "stations.log.partitions": 2,
            "stations.log.lanes": [
                {"name": "first", "partitions": 1, "tenants": [0]},
                {"name": "second", "partitions": 1, "weight": 2.0},
            ],
            "stations.group": {"kind": "consumer_group", "host": "box", "max_poll_events": 1, "service": service}
            | {"process": {"job_s": utilisation / RATE_EPS, "noise": noise}},
        }
    )


def mean_waits_s(scenario: Scenario, seed: int) -> list[float]:
    """Returns the mean time in which each class waits for the server."""
    plan = prepare(scenario, seconds=SECONDS, seed=seed)
    due_s = plan.offered.intended_s
    waited_s = event_times(scenario, run(plan), "started") - due_s
    tenant = plan.offered.keys % 2
    return [float(waited_s[(tenant == number) & (due_s >= WARMUP * SECONDS)].mean()) for number in (0, 1)]


@pytest.mark.parametrize(
    ("utilisation", "noise", "cv"),
    [
        (0.8, {"dist": "exponential"}, 1.0),
        (0.9, {"dist": "constant"}, 0.0),
        (0.7, {"dist": "lognormal", "cv": 2.0}, 2.0),
    ],
    ids=["M/M/1", "M/D/1", "M/G/1"],
)
def test_each_class_waits_as_long_as_cobham_says(utilisation: float, noise: dict[str, Any], cv: float) -> None:
    """W_k = W_0 / ((1 - s_k-1)(1 - s_k)): W_0 is the mean rest of the job under way, s_k the load of the first k classes (1954)."""
    rest_s = utilisation * (1 + cv**2) * utilisation / RATE_EPS / 2
    first = SHARES[0] * utilisation
    expected_s = [rest_s / (1 - first), rest_s / ((1 - first) * (1 - utilisation))]
    scenario = two_classes(utilisation, noise, "priority")
    found_s = np.array([mean_waits_s(scenario, seed) for seed in range(30)])
    for number in (0, 1):
        assert_holds(replication_interval(found_s[:, number], confidence=CONFIDENCE), expected_s[number], precision=0.1)


def test_no_order_of_service_changes_how_much_work_waits() -> None:
    """Kleinrock's conservation law (1965), to the last bit: the server begins its jobs at the same moments, whoever's they are."""
    starts, waits = [], []
    for service in ("arrival", "priority", "fair"):
        scenario = two_classes(0.9, {"dist": "lognormal", "cv": 1.0}, service)
        trace = run(prepare(scenario, seconds=SECONDS, seed=1))
        starts.append(np.sort(hop_times(scenario, trace, "started")))
        waits.append(mean_waits_s(scenario, 1))
    np.testing.assert_array_equal(starts[0], starts[1])
    np.testing.assert_array_equal(starts[0], starts[2])
    assert waits[1][0] < waits[2][0] < waits[0][0]  # the first class: under priority, fair service, arrival


@pytest.mark.parametrize("weight", [1.0, 2.5, 7.0])
def test_no_lane_gets_ahead_by_more_than_deficit_round_robin_allows(weight: float) -> None:
    """Of two lanes with a backlog, served events over weight differ by at most 2 Max + Quantum in any interval.

    Max is the largest frame, Quantum that of weight one (Shreedhar & Varghese 1996, theorem 2). What is served in an interval is the
    difference of what was served until its ends, so that the bound is on the range of the difference between the lanes.
    """
    scenario = bare(
        {
            "load": {"rate_eps": 4 * RATE_EPS, "arrivals": "poisson", "tick_s": 0.0, "keys": 100, "tenants": 2}
            | {"tenant_weights": [1.0, 1.0]},
            "stations.batcher.max_events": 8,
            "stations.batcher.linger_s": 0.001,
            "stations.log.partitions": 4,
            "stations.log.lanes": [
                {"name": "first", "partitions": 1, "tenants": [0]},
                {"name": "second", "partitions": 3, "weight": weight},
            ],
            "stations.group": {"kind": "consumer_group", "host": "box", "max_poll_events": 9, "service": "fair"}
            | {"process": {"event_s": 1 / RATE_EPS}},
        }
    )
    trace = run(prepare(scenario, seconds=10.0, seed=1))
    crowded = (trace.poll >= 0) & (hop_times(scenario, trace, "started") > 1.0)
    crowded &= hop_times(scenario, trace, "started") < 10.0
    first = crowded & (trace.partition == 0)
    polls = int(trace.poll.max()) + 1
    served = [np.bincount(trace.poll[mine], trace.events[mine], polls).cumsum() for mine in (first, crowded & ~first)]
    ahead = served[0] - served[1] / weight
    assert len(np.unique(trace.events[crowded])) > 3, "frames of all sizes"
    assert ahead.max() - ahead.min() <= 2 * 8 + 8
    assert served[1][-1] / served[0][-1] == pytest.approx(weight, rel=0.02)

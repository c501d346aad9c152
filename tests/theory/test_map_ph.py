"""Modulated arrivals and service of phase type at several servers: the engines against exact quantiles of the wait, found in two ways."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from sentra_sim.engine import Plan, prepare, run
from sentra_sim.engine.numbers import Numbers
from sentra_sim.rng import stream
from sentra_sim.scenario import Scenario
from sentra_sim.scenario.schema import Noise
from sentra_sim.stats import replication_interval
from tests.pipelines import bare, event_times
from tests.theory.map_cases import CASES, QUANTILES, RATE_EPS, STATES, Case, arrivals
from tests.theory.mapphc import MapPhC
from tests.theory.queues import CONFIDENCE, WARMUP, assert_holds

TABLE = json.loads((Path(__file__).parent / "map_quantiles.json").read_text())
SECONDS, REPLICATIONS = 60.0, 40
each_case = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])


def queue(case: Case) -> Scenario:
    """The log's threads as the servers, the MMPP as the shape of the load."""
    states = [{"rate": rate, "mean_s": mean_s} for rate, mean_s in STATES]
    return bare(
        {
            "load.rate_eps": RATE_EPS,
            "load.arrivals": "poisson",
            "load.shape": [{"kind": "mmpp", "states": states}],
            "hosts.box": {"cores": case.servers, "slice_s": 1e3},
            "stations.log.host": "box",
            "stations.log.threads": case.servers,
            "stations.log.append": {"job_s": case.service_s, "noise": {"dist": "exponential"}},
        }
    )


class Listed(Numbers):
    """Numbers that were drawn elsewhere."""

    def __init__(self, drawn: np.ndarray) -> None:
        super().__init__(Noise(dist="exponential"), 0, "", "", jobs=0, kept=True)
        self._blocks = [drawn]


def prepared(case: Case, seed: int, seconds: float) -> Plan:
    """Returns a plan in which services are drawn phase by phase; a scenario has no such noise."""
    plan = prepare(queue(case), seconds=seconds, seed=seed)
    drawn = case.draw(len(plan.partition), stream(seed, "log/1", "phases"))
    return replace(plan, multipliers=plan.multipliers | {("log/1", "append"): Listed(drawn)})


@cache
def waits(case: Case) -> list[np.ndarray]:
    """Returns how long events wait for a thread, run by run, without the warm-up."""
    found = []
    for seed in range(REPLICATIONS):
        plan = prepared(case, seed, SECONDS)
        due_s = plan.offered.intended_s
        service_s = case.service_s * plan.multipliers["log/1", "append"].first(len(due_s))
        waited_s = event_times(plan.scenario, run(plan), "acked") - due_s - service_s
        found.append(waited_s[due_s >= WARMUP * SECONDS])
    return found


@each_case
def test_a_chain_solved_at_once_and_matrix_geometry_agree_on_the_wait(case: Case) -> None:
    """The table is LINE's (make_map_table.py); the chain is ours."""
    chain = MapPhC(*arrivals(), case.alpha, case.s, case.servers, levels=400)
    found = {"waits": chain.waits_longer(0.0), "mean_wait_s": chain.mean_wait_s}
    found |= {name: chain.wait_quantile_s(q) for name, q in QUANTILES.items()}
    assert found == pytest.approx(TABLE[case.name], rel=1e-8)


@each_case
def test_the_wait_is_that_of_map_ph_c(case: Case) -> None:
    means = np.array([values.mean() for values in waits(case)])
    assert_holds(replication_interval(means, confidence=CONFIDENCE), TABLE[case.name]["mean_wait_s"], precision=0.1)
    for name, q in QUANTILES.items():
        quantiles = np.array([np.quantile(values, q) for values in waits(case)])
        assert_holds(replication_interval(quantiles, confidence=CONFIDENCE), TABLE[case.name][name], precision=0.1)


def test_both_engines_give_the_same_queue() -> None:
    plan = prepared(CASES[0], 4, 1.0)
    np.testing.assert_array_equal(run(plan).hops_s, run(plan, engine="reference").hops_s)

"""A load that a pipeline cannot carry: its run says so, and how fast the backlog grows, instead of a P99."""

from __future__ import annotations

from pathlib import Path

import pytest

from sentra_sim.cli import main
from sentra_sim.engine import simulate
from sentra_sim.kpi import Kpi, breaches, kpis
from sentra_sim.records import Run
from sentra_sim.scenario import Scenario
from tests.pipelines import SENTRA, bare

CAPACITY_EPS = 100.0


def loaded(rate_eps: float) -> Scenario:
    """A pipeline of which one thread can append a hundred events a second."""
    return bare(
        {
            "load.rate_eps": rate_eps,
            "load.arrivals": "poisson",
            "stations.log.host": "box",
            "stations.log.append": {"job_s": 1 / CAPACITY_EPS, "noise": {"dist": "exponential"}},
            "kpis": {"e2e": {"from": "intended", "to": "acked"}},
            "slo": {"e2e_p95_s": {"max": 10.0}},
        }
    )


def simulated(rate_eps: float, *, seconds: float = 60.0, seed: int = 1) -> dict[str, Kpi]:
    tables, manifest = simulate(loaded(rate_eps), seconds=seconds, warmup_s=10.0, seed=seed)
    return {kpi.name: kpi for kpi in kpis(Run(Path(), manifest, tables))}


@pytest.mark.parametrize("rate_eps", [105.0, 150.0, 300.0])
def test_a_saturated_run_tells_how_fast_its_backlog_grows(rate_eps: float) -> None:
    found = simulated(rate_eps, seconds=300.0 if rate_eps < 110.0 else 60.0)
    growth = found["backlog_growth_eps"]
    assert growth.value == pytest.approx(rate_eps - CAPACITY_EPS, abs=0.05 * rate_eps)
    assert {found[f"e2e_{q}_s"].verdict for q in ("p50", "p95", "p99")} == {"saturated"}
    assert {found[f"e2e_{q}_s"].value for q in ("p50", "p95", "p99")} == {None}
    assert [kpi.name for kpi in breaches(tuple(found.values()))] == ["e2e_p95_s"]  # the others promise nothing


@pytest.mark.parametrize("seed", range(8))
def test_a_busy_run_that_keeps_up_is_not_called_saturated(seed: int) -> None:
    found = simulated(0.85 * CAPACITY_EPS, seconds=120.0, seed=seed)
    assert found["e2e_p95_s"].verdict == "ok"
    assert found["e2e_p95_s"].value is not None


def test_a_short_window_is_not_judged() -> None:
    assert simulated(300.0, seconds=4.0)["backlog_growth_eps"].value is None


def test_the_command_prints_the_growth_in_place_of_the_quantiles(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path / "run")
    assert main(["simulate", str(SENTRA), "--rate", "400000", "--seconds", "6", "--warmup", "1", "-o", folder]) == 0
    told = capsys.readouterr().out
    assert "SATURATED" in told
    assert "backlog_growth_eps" in told
    assert main(["kpi", folder, "--enforce"]) == 1

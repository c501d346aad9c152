"""What the twin says of a load, with an interval for what a measurement of it would show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sentra_sim.engine import simulate
from sentra_sim.kpi import hop_breakdown, kpis
from sentra_sim.records import Run
from sentra_sim.scenario import Scenario
from sentra_sim.stats.student import t_quantile
from sentra_sim.twin.model import Twin, apply_stations, apply_twin

CONFIDENCE = 0.90
WARMUP_S = 2.0
# Not a seed that a measurement of the demo uses: a prediction does not know which keys will come.
SEED = 20_011
SEEDS = 2

Estimate = tuple[float, float | None, float | None]


@dataclass(frozen=True)
class Prediction:
    """Predicted KPIs and hop quantiles: name → (value, low, high); the interval is for a new measurement, 90 %."""

    kpis: dict[str, Estimate]
    hops: dict[str, Estimate]


def predict(twin: Twin, scenario: Scenario, *, seconds: float) -> Prediction:
    """Simulates a scenario under the twin and its ensemble.

    The interval joins three sources of error on the log scale: parameters (jackknife over the refits), the simulation's own seeds, and
    the repeatability of the measurement.
    """
    fitted = apply_twin(twin, scenario)
    base = [_figures(fitted, seconds, SEED + number) for number in range(SEEDS)]
    members = [_figures(apply_stations(fitted, member), seconds, SEED) for member in twin.members]
    kpi_names, hop_names = base[0][0].keys(), base[0][1].keys()
    degrees = max(len(twin.training) - 1, 1)
    return Prediction(
        kpis={
            name: _estimate(name, [b[0] for b in base], [m[0] for m in members], twin, degrees) for name in kpi_names
        },
        hops={
            name: _estimate(name, [b[1] for b in base], [m[1] for m in members], twin, degrees) for name in hop_names
        },
    )


def _figures(scenario: Scenario, seconds: float, seed: int) -> tuple[dict[str, float], dict[str, float]]:
    tables, manifest = simulate(scenario, seconds=seconds, warmup_s=WARMUP_S, seed=seed)
    run = Run(path=Path("prediction"), manifest=manifest, tables=tables)
    found = {kpi.name: kpi.value for kpi in kpis(run) if kpi.value is not None}
    hops: dict[str, float] = {}
    for row in hop_breakdown(run).iter_rows(named=True):
        for label in ("p50", "p95", "p99"):
            value = row[f"{label}_s"]
            if value is not None:
                hops[f"{row['hop']}_{label}_s"] = value
    return found, hops


def _estimate(
    name: str, base: Sequence[dict[str, float]], members: Sequence[dict[str, float]], twin: Twin, degrees: int
) -> Estimate:
    values = np.array([figures[name] for figures in base if name in figures])
    value = float(values.mean())
    others = np.array([figures[name] for figures in members if name in figures])
    if value <= 0 or len(others) < 2 or (others <= 0).any():
        return value, None, None
    logs = np.log(others)
    count = len(logs)
    parameters = (count - 1) / count * float(np.sum((logs - logs.mean()) ** 2))
    seeds = float(np.log(np.maximum(values, 1e-12)).var(ddof=1)) if len(values) > 1 else 0.0
    repeat = twin.repeatability.get(name, 0.0) ** 2
    half = float(t_quantile(degrees, (1 + CONFIDENCE) / 2) * np.sqrt(parameters + seeds + repeat))
    return value, value * float(np.exp(-half)), value * float(np.exp(half))

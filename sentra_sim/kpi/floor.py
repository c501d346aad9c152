"""The noise floor: how far repeated measurements of one load lie apart. No model can be held to less."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sentra_sim.kpi.compute import QUANTILES, kpis
from sentra_sim.records import Run
from sentra_sim.stats import range_over_mean


@dataclass(frozen=True)
class Floor:
    """One quantile of the end-to-end time at one load; `values_s` in order of the runs that count.

    `spread` is range over mean; None with fewer than two values.
    """

    rate_eps: float
    name: str
    values_s: tuple[float, ...]
    mean_s: float | None
    spread: float | None


def noise_floor(runs: Sequence[Run]) -> tuple[Floor, ...]:
    """Returns the floors of end-to-end P50, P95 and P99 at every rate, rates ascending; runs that are not valid do not count."""
    found: list[Floor] = []
    for rate_eps in sorted({run.manifest.rate_eps for run in runs}):
        valid = [run for run in runs if run.manifest.rate_eps == rate_eps and run.manifest.validity.valid]
        values = [{kpi.name: kpi.value for kpi in kpis(run)} for run in valid]
        for name in (f"e2e_{label}_s" for label in QUANTILES):
            known = tuple(value for value in (kpi.get(name) for kpi in values) if value is not None)
            mean_s = sum(known) / len(known) if known else None
            found.append(Floor(rate_eps, name, known, mean_s, range_over_mean(known)))
    return tuple(found)

"""Twin against runs it never saw: signed errors with intervals, beside the naive baseline and the noise floor."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from sentra_sim.errors import InputError
from sentra_sim.kpi import hop_breakdown, kpis
from sentra_sim.records import Run
from sentra_sim.twin.model import Twin, load_twin, twin_hash
from sentra_sim.twin.predict import Prediction, predict

Grade = Literal["good", "fair", "poor", "nodata"]

# Relative error that still counts as good; later targets are tighter. A KPI that is not listed is shown but not judged.
TARGETS = {"e2e_p50_s": 0.10, "e2e_p95_s": 0.20, "throughput_eps": 0.01}
SHOWN = ("e2e_p50_s", "e2e_p95_s", "e2e_p99_s", "staleness_p95_s", "throughput_eps", "cpu_cores")
# A model cannot be asked to come closer than the measurement comes to itself.
FLOOR_FACTOR = 1.5


class Row(BaseModel):
    """One KPI at one load. Errors are signed and relative: simulated over measured minus one; None where there is no data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rate_eps: float
    kind: Literal["kpi", "hop"]
    name: str
    unit: str
    measured: float | None
    simulated: float | None
    low: float | None
    high: float | None
    error: float | None
    baseline_error: float | None
    floor: float | None
    covered: bool | None
    target: float | None
    grade: Grade | None


class LoadPoint(BaseModel):
    """One load of the validation: its runs, and whether the twin was fitted on it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rate_eps: float
    held_out: bool
    runs: tuple[str, ...]
    busy_fraction: float | None  # of the hosts' cores, measured


class Validation(BaseModel):
    """The verdict on a twin: rows per load and KPI, and whether to trust it, with the reason."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    twin: str
    twin_sha256: str
    trusted: bool | None  # None: not known, nothing held out
    reason: str
    points: tuple[LoadPoint, ...]
    rows: tuple[Row, ...]


def validate(
    twin_path: str | Path, runs: Sequence[Run], *, progress: Callable[[str], None] = lambda _: None
) -> Validation:
    """Predicts every load of `runs` and compares; runs of one load and pipeline count as repeats.

    Raises:
        InputError: the twin cannot be read, or a run is simulated.
    """
    twin = load_twin(twin_path)
    for run in runs:
        if run.manifest.source != "measured":
            raise InputError(f"{run.path}: must be a measured run, got a simulated one; record it with sentra measure")
    groups: dict[tuple[float, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.manifest.rate_eps, run.manifest.scenario_hash), []).append(run)
    trained = {training.scenario_hash for training in twin.training}
    points: list[LoadPoint] = []
    rows: list[Row] = []
    for (rate, digest), group in sorted(groups.items()):
        progress(f"predicting {rate:g} events/s")
        prediction = predict(twin, group[0].manifest.load_scenario(), seconds=group[0].manifest.seconds)
        found = _rows(twin, rate, group, prediction)
        rows += found
        points.append(
            LoadPoint(
                rate_eps=rate,
                held_out=digest not in trained,
                runs=tuple(run.name for run in group),
                busy_fraction=_busy(group),
            )
        )
    trusted, reason = _verdict(points, rows)
    return Validation(
        twin=Path(twin_path).name,
        twin_sha256=twin_hash(twin_path),
        trusted=trusted,
        reason=reason,
        points=tuple(points),
        rows=tuple(rows),
    )


def save_validation(validation: Validation, path: str | Path) -> Path:
    """Writes a validation as JSON under a temporary name and renames it."""
    path = Path(path)
    part = path.with_name(f".{path.name}.part")
    part.write_text(validation.model_dump_json(indent=1) + "\n", encoding="utf-8")
    os.replace(part, path)
    return path


def load_validation(path: str | Path) -> Validation:
    """Reads what `save_validation` wrote.

    Raises:
        InputError: the file cannot be read or is not a validation.
    """
    try:
        return Validation.model_validate(json.loads(Path(path).read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: must be a validation, got {type(error).__name__}; write one with sentra validate -o {path}"
        ) from None


def _rows(twin: Twin, rate: float, group: Sequence[Run], prediction: Prediction) -> list[Row]:
    measured: dict[str, list[float]] = {}
    units: dict[str, str] = {}
    for run in group:
        for kpi in kpis(run):
            units[kpi.name] = kpi.unit
            if kpi.value is not None:
                measured.setdefault(kpi.name, []).append(kpi.value)
    nearest = min(twin.training, key=lambda training: abs(training.rate_eps - rate))
    same = [training.kpis for training in twin.training if training.rate_eps == nearest.rate_eps]
    rows = []
    for name in SHOWN:
        if name in units:
            baseline = [values[name] for values in same if name in values]
            naive = _naive(name, float(np.mean(baseline)), nearest.rate_eps, rate) if baseline else None
            rows.append(
                _row(twin, rate, "kpi", name, units[name], measured.get(name, []), prediction.kpis.get(name), naive)
            )
    return rows + _hop_rows(twin, rate, group, prediction)


def _naive(name: str, value: float, nearest_eps: float, rate_eps: float) -> float:
    """The baseline copies the nearest measured load; a count in proportion to the load is scaled, else it would be a straw man."""
    return value * rate_eps / nearest_eps if name in ("throughput_eps", "cpu_cores") else value


def _hop_rows(twin: Twin, rate: float, group: Sequence[Run], prediction: Prediction) -> list[Row]:
    tables = [hop_breakdown(run) for run in group]
    rows = []
    for number, hop in enumerate(tables[0]["hop"].to_list()):
        for label in ("p50", "p95", "p99"):
            name = f"{hop}_{label}_s"
            values = [table[f"{label}_s"][number] for table in tables]
            rows.append(
                _row(
                    twin, rate, "hop", name, "s", [v for v in values if v is not None], prediction.hops.get(name), None
                )
            )
    return rows


def _row(
    twin: Twin,
    rate: float,
    kind: Literal["kpi", "hop"],
    name: str,
    unit: str,
    measured: list[float],
    simulated: tuple[float, float | None, float | None] | None,
    naive: float | None,
) -> Row:
    mean = float(np.mean(measured)) if measured else None
    value, low, high = simulated or (None, None, None)
    floor = float(np.ptp(measured) / mean) if mean and len(measured) > 1 else None
    error = value / mean - 1 if mean and value is not None else None
    target = TARGETS.get(name) if kind == "kpi" else None
    return Row(
        rate_eps=rate,
        kind=kind,
        name=name,
        unit=unit,
        measured=mean,
        simulated=value,
        low=low,
        high=high,
        error=error,
        baseline_error=naive / mean - 1 if mean and naive is not None else None,
        floor=floor,
        covered=low <= mean <= high if mean is not None and low is not None and high is not None else None,
        target=target,
        grade=_grade(error, target, floor) if target is not None else None,
    )


def _grade(error: float | None, target: float, floor: float | None) -> Grade:
    if error is None:
        return "nodata"
    allowed = max(target, FLOOR_FACTOR * (floor or 0.0))
    if abs(error) <= allowed:
        return "good"
    return "fair" if abs(error) <= 2 * allowed else "poor"


def _busy(group: Sequence[Run]) -> float | None:
    found = []
    for run in group:
        cores = {kpi.name: kpi.value for kpi in kpis(run)}["cpu_cores"]
        total = sum(host.cores for host in run.manifest.load_scenario().hosts.values())
        if cores is not None:
            found.append(cores / total)
    return float(np.mean(found)) if found else None


def _verdict(points: Sequence[LoadPoint], rows: Sequence[Row]) -> tuple[bool | None, str]:
    held_out = {point.rate_eps for point in points if point.held_out}
    judged = [row for row in rows if row.rate_eps in held_out and row.grade is not None]
    if not judged:
        return None, "no held-out load was measured, so the error of a prediction is not known"
    worst = max(
        judged,
        key=lambda row: (row.grade != "good", abs(row.error) / (row.target or 1) if row.error is not None else np.inf),
    )
    if worst.grade == "good":
        shown = f"{worst.name} {worst.error:+.1%}" if worst.error is not None else worst.name
        return (
            True,
            f"every judged KPI of {len(held_out)} held-out load(s) is within its target; the furthest is {shown} (target ±{worst.target:.0%})",
        )
    if worst.error is None:
        return False, f"{worst.name} at {worst.rate_eps:g} events/s has no data"
    return (
        False,
        f"{worst.name} at {worst.rate_eps:g} events/s is off by {worst.error:+.1%}, target ±{worst.target:.0%} or 1.5 × the noise floor",
    )

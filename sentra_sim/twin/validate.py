"""Twin against runs it never saw: signed errors with intervals, beside the naive baseline and the noise floor."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict

from sentra_sim.errors import InputError
from sentra_sim.files import write_text_whole
from sentra_sim.kpi import QUANTILES, hop_breakdown, kpis
from sentra_sim.records import Run
from sentra_sim.stats import range_over_mean
from sentra_sim.twin.model import Twin, load_twin, twin_hash
from sentra_sim.twin.predict import Estimate, Prediction, predict

Grade = Literal["good", "fair", "poor", "nodata"]

# Relative error that still counts as good; later targets are tighter. A KPI that is not listed is shown but not judged.
TARGETS = {"e2e_p50_s": 0.10, "e2e_p95_s": 0.20, "throughput_eps": 0.01}
SHOWN = ("e2e_p50_s", "e2e_p95_s", "e2e_p99_s", "staleness_p95_s", "throughput_eps", "cpu_cores")
PROPORTIONAL = ("throughput_eps", "cpu_cores")
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


class Subject(NamedTuple):
    """What a row is about, and the relative error that it may have; None: shown, not judged."""

    kind: Literal["kpi", "hop"]
    name: str
    unit: str
    target: float | None


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
    spoilt = [run.name for run in runs if not run.manifest.validity.valid and run.manifest.scenario_hash not in trained]
    if trusted and spoilt:
        trusted, reason = (
            None,
            f"{', '.join(spoilt)}: not a valid measurement, so the error of a prediction is not known",
        )
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
    return write_text_whole(path, validation.model_dump_json(indent=1) + "\n")


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
    baseline = _nearest_load(twin, rate)
    rows = []
    for name in SHOWN:
        if name in units:
            subject = Subject("kpi", name, units[name], TARGETS.get(name))
            rows.append(_row(rate, subject, measured.get(name, []), prediction.kpis.get(name), baseline.get(name)))
    return rows + _hop_rows(rate, group, prediction)


def _nearest_load(twin: Twin, rate_eps: float) -> dict[str, float]:
    """The naive baseline copies the nearest measured load; what grows with the load is scaled, else it would be a straw man."""
    nearest = min((training.rate_eps for training in twin.training), key=lambda eps: abs(eps - rate_eps))
    repeats = [training.kpis for training in twin.training if training.rate_eps == nearest]
    found = {name: float(np.mean([kpi[name] for kpi in repeats if name in kpi])) for name in repeats[0]}
    return {name: value * rate_eps / nearest if name in PROPORTIONAL else value for name, value in found.items()}


def _hop_rows(rate: float, group: Sequence[Run], prediction: Prediction) -> list[Row]:
    tables = [hop_breakdown(run) for run in group]
    rows = []
    for number, hop in enumerate(tables[0]["hop"].to_list()):
        for label in QUANTILES:
            name = f"{hop}_{label}_s"
            values = [table[f"{label}_s"][number] for table in tables]
            known = [value for value in values if value is not None]
            rows.append(_row(rate, Subject("hop", name, "s", None), known, prediction.hops.get(name), None))
    return rows


def _row(rate: float, subject: Subject, measured: list[float], simulated: Estimate | None, naive: float | None) -> Row:
    mean = float(np.mean(measured)) if measured else None
    value, low, high = simulated or (None, None, None)
    floor = range_over_mean(measured)
    error = value / mean - 1 if mean and value is not None else None
    return Row(
        rate_eps=rate,
        kind=subject.kind,
        name=subject.name,
        unit=subject.unit,
        measured=mean,
        simulated=value,
        low=low,
        high=high,
        error=error,
        baseline_error=naive / mean - 1 if mean and naive is not None else None,
        floor=floor,
        covered=low <= mean <= high if mean is not None and low is not None and high is not None else None,
        target=subject.target,
        grade=_grade(error, subject.target, floor) if subject.target is not None else None,
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
    if worst.error is None:
        return False, f"{worst.name} at {worst.rate_eps:g} events/s has no data"
    shown = f"{worst.name} at {worst.rate_eps:g} events/s is off by {worst.error:+.1%}"
    rule = f"target ±{worst.target:.0%} or {FLOOR_FACTOR} × the noise floor"
    if worst.grade == "good":
        return (
            True,
            f"every judged KPI of {len(held_out)} held-out load(s) is within its target; the furthest, {shown} ({rule})",
        )
    return False, f"{shown} ({rule})"

"""May the twin be trusted right now? The verdict, its reason, and what it rests on, from the files of a workspace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from sentra_sim.dashboard.store import Entry
from sentra_sim.dashboard.words import kpi_words, rate_words
from sentra_sim.errors import SentraError
from sentra_sim.plots import ERROR_COLUMNS
from sentra_sim.twin import LoadPoint, Row, Twin, Validation, load_twin, load_validation, twin_hash

TWIN = "twin.yaml"
VALIDATION = "validation.json"
State = Literal["yes", "no", "not known"]


@dataclass(frozen=True)
class Step:
    """Something that is missing and the command that makes it."""

    what: str
    command: str


@dataclass(frozen=True)
class Trust:
    """The verdict on the twin of a workspace. `steps` is not empty where something must be made first."""

    state: State
    reason: str
    steps: tuple[Step, ...] = ()
    validation: Validation | None = None
    twin: Twin | None = None
    twin_sha256: str | None = None


def assess(folder: Path, entries: Sequence[Entry]) -> Trust:
    """Judges the twin of a workspace by its last validation; a twin changed since then is not known."""
    if not (folder / VALIDATION).is_file():
        return Trust("not known", _missing_reason(folder, entries), missing_steps(folder, entries))
    try:
        validation = load_validation(folder / VALIDATION)
    except SentraError as error:
        return Trust("not known", str(error), (_validate_step(folder, entries),))
    try:
        twin = load_twin(folder / TWIN)
        digest = twin_hash(folder / TWIN)
    except SentraError as error:
        return Trust("not known", str(error), missing_steps(folder, entries), validation)
    if digest != validation.twin_sha256:
        reason = f"{TWIN} has changed since it was validated (now {digest}, then {validation.twin_sha256})"
        return Trust("not known", reason, (_validate_step(folder, entries),), validation, twin, digest)
    state: State = "not known" if validation.trusted is None else "yes" if validation.trusted else "no"
    return Trust(state, _plain(validation), (), validation, twin, digest)


def missing_steps(folder: Path, entries: Sequence[Entry]) -> tuple[Step, ...]:
    """Returns what a workspace still lacks for a verdict, in the order in which it is made."""
    steps = []
    measured = _measured(entries)
    if len({entry.manifest.rate_eps for entry in measured if entry.manifest}) < 3:
        command = f"sentra measure data/scenarios/sentra.yaml --rate 50000 --seconds 30 -o {folder / 'measured-50k'}"
        steps.append(Step("measured runs at three loads or more, one of them to hold out", command))
    if not (folder / TWIN).is_file():
        steps.append(Step("a twin", f"sentra calibrate {folder}/TRAINING_RUN... -o {folder / TWIN}"))
    steps.append(_validate_step(folder, entries))
    return tuple(steps)


def held_out_runs(validation: Validation | None) -> tuple[str, ...]:
    """Returns the names of the runs that the twin was judged by, none without a validation."""
    if validation is None:
        return ()
    return tuple(name for point in validation.points if point.held_out for name in point.runs)


def held_out_first(validation: Validation) -> list[LoadPoint]:
    """Returns the loads of a validation, the held-out ones first."""
    return sorted(validation.points, key=lambda point: (not point.held_out, point.rate_eps))


def rows_at(validation: Validation, point: LoadPoint, kind: Literal["kpi", "hop"]) -> list[Row]:
    """Returns the rows of one load."""
    return [row for row in validation.rows if row.rate_eps == point.rate_eps and row.kind == kind]


def error_table(validation: Validation) -> pl.DataFrame:
    """Returns the KPI errors at the held-out loads as the error plot takes them."""
    points = [point for point in held_out_first(validation) if point.held_out]
    several = len(points) > 1
    found = [(point, row) for point in points for row in rows_at(validation, point, "kpi")]
    return pl.DataFrame(
        [
            {
                "label": f"{kpi_words(row.name)} at {rate_words(point.rate_eps)}" if several else kpi_words(row.name),
                "error": row.error,
                "low": _relative(row.low, row.measured),
                "high": _relative(row.high, row.measured),
                "target": row.target,
                "floor": row.floor,
                "baseline": row.baseline_error,
            }
            for point, row in found
        ],
        schema=ERROR_COLUMNS,
    )


def _relative(value: float | None, measured: float | None) -> float | None:
    return value / measured - 1 if value is not None and measured else None


def _plain(validation: Validation) -> str:
    reason = validation.reason
    for name in sorted({row.name for row in validation.rows}, key=len, reverse=True):
        reason = reason.replace(name, kpi_words(name))
    return reason


def _measured(entries: Sequence[Entry]) -> list[Entry]:
    return [entry for entry in entries if entry.manifest and entry.manifest.source == "measured"]


def _missing_reason(folder: Path, entries: Sequence[Entry]) -> str:
    if not folder.is_dir():
        return f"the folder {folder} does not exist yet"
    if not _measured(entries):
        return f"{folder} holds no measured run yet"
    if not (folder / TWIN).is_file():
        return f"{folder} holds measured runs but no {TWIN} yet"
    return f"the twin in {folder} has not been validated yet"


def _validate_step(folder: Path, entries: Sequence[Entry]) -> Step:
    names = " ".join(str(folder / entry.name) for entry in reversed(_measured(entries))) or f"{folder}/MEASURED_RUN..."
    return Step("a validation at a held-out load", f"sentra validate {folder / TWIN} {names} -o {folder / VALIDATION}")

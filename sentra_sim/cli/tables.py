"""What the commands print: tables for people, JSON for machines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from sentra_sim.kpi import Kpi
    from sentra_sim.twin import Twin, Validation

MARKS = {
    "ok": "[green]ok[/]",
    "good": "[green]good[/]",
    "fair": "[yellow]fair[/]",
    "poor": "[bold red]poor[/]",
    "breach": "[bold red]BREACH[/]",
    "saturated": "[bold red]SATURATED[/]",
    "flat": "[green]flat[/]",
    "grows": "[bold red]GROWS[/]",
}


_TIMES = ("mean_s", "p50_s", "p95_s", "p99_s")


def console() -> Console:
    """Returns the console; without a terminal its lines are as wide as the tables need."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=140)


def table(title: str, *columns: str) -> Table:
    """Returns an empty table: first column left, numbers right."""
    made = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns):
        made.add_column(column, justify="left" if number == 0 else "right", no_wrap=True)
    return made


def number(value: float | None, unit: str) -> str:
    """Returns a value as its unit is read: seconds as ms, counts with separators, what is missing as `nodata`."""
    if value is None:
        return "nodata"
    if unit == "s":
        return f"{value * 1e3:.1f} ms"
    if unit in ("events/s", "events"):
        return f"{value:,.0f}"
    if unit == "fraction":
        return f"{value:.4f}"
    return f"{value:.2f}"


def percent(value: float | None) -> str:
    """Returns a signed relative error."""
    return "-" if value is None else f"{value:+.1%}"


def side_by_side(title: str, heads: Sequence[str], found: Sequence[Sequence[Kpi]]) -> Table:
    """Returns a row per KPI and a column per head, each value with its verdict."""
    made = table(title, "KPI", *heads, "SLO")
    for row in zip(*found, strict=True):
        made.add_row(row[0].name, *map(_cell, row), row[0].bound or "-")
    return made


def _cell(kpi: Kpi) -> str:
    return shown(kpi) if kpi.verdict == "-" else f"{shown(kpi)} {MARKS.get(kpi.verdict, kpi.verdict)}"


def shown(kpi: Kpi) -> str:
    """Returns a KPI's value as it is read; a dash for a latency of a saturated run, which has none."""
    from sentra_sim.kpi import SATURATED

    return "-" if kpi.verdict == SATURATED else number(kpi.value, kpi.unit)


def print_twin(twin: Twin, path: Path, *, as_json: bool) -> int:
    """Prints what was fitted and how well the CPU is explained."""
    if as_json:
        print(json.dumps(twin.model_dump(mode="json", exclude={"members", "scenario"})))
        return 0
    title = f"{path}: fitted to {len(twin.training)} runs, host discipline {twin.discipline}"
    made = table(title, "process", "idle cores", "× per job", "× per event", "worst CPU error")
    for name, fit in twin.processes.items():
        made.add_row(
            name, f"{fit.idle_cores:.3f}", f"{fit.job_scale:.2f}", f"{fit.event_scale:.2f}", f"{fit.worst_error:.1%}"
        )
    out = console()
    out.print(made)
    out.print("distance to the training runs: " + ", ".join(f"{name} {loss:.1%}" for name, loss in twin.losses.items()))
    return 0


def print_validation(found: Validation, *, as_json: bool, hops: bool) -> None:
    """Prints predicted against measured, load by load, and the verdict."""
    if as_json:
        print(found.model_dump_json())
        return
    out = console()
    for point in found.points:
        busy = "" if point.busy_fraction is None else f", {point.busy_fraction:.0%} busy"
        kind = "held out" if point.held_out else "trained on"
        title = f"{point.rate_eps:,.0f} events/s ({kind}, {len(point.runs)} measured{busy})"
        made = table(
            title, "KPI", "measured", "simulated", "90 % interval", "error", "nearest load", "noise floor", "class"
        )
        for row in found.rows:
            if row.rate_eps == point.rate_eps and (hops or row.kind == "kpi"):
                made.add_row(*_validation_cells(row))
        out.print(made)
    verdict = {True: "[green]trusted[/]", False: "[bold red]not trusted[/]", None: "[yellow]not known[/]"}[
        found.trusted
    ]
    out.print(f"twin: {verdict}: {found.reason}")


def _validation_cells(row: Any) -> list[str]:
    interval = "-" if row.low is None else f"{number(row.low, row.unit)} … {number(row.high, row.unit)}"
    floor = "-" if row.floor is None else f"{row.floor:.1%}"
    grade = MARKS.get(row.grade, row.grade or "-")
    return [
        row.name,
        number(row.measured, row.unit),
        number(row.simulated, row.unit),
        interval,
        percent(row.error),
        percent(row.baseline_error),
        floor,
        grade,
    ]


def print_components(components: Sequence[Any], *, as_json: bool) -> int:
    """Prints the stack's components; 1 when one is dead or none runs."""
    alive = bool(components) and all(component.alive for component in components)
    if as_json:
        print(json.dumps([asdict(component) for component in components]))
        return 0 if alive else 1
    if not components:
        print("the local stack is not running; start it with sentra up")
        return 1
    made = table("local stack", "component", "pid", "port", "state", "version")
    for component in components:
        state = "[green]alive[/]" if component.alive else "[bold red]DEAD[/]"
        made.add_row(component.name, str(component.pid), str(component.port), state, component.version)
    console().print(made)
    return 0 if alive else 1

"""What the commands print of one run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from sentra_sim.cli.steps import steps_data, steps_table
from sentra_sim.cli.tables import MARKS, console, number, shown, side_by_side, table

if TYPE_CHECKING:
    from sentra_sim.kpi import Kpi
    from sentra_sim.records import Run

_TIMES = ("mean_s", "p50_s", "p95_s", "p99_s")


def print_run(run: Run, *, as_json: bool, hops: bool, warnings: Sequence[str] = ()) -> int:
    """Prints the KPIs of a run, its validity and its CPU by process; `warnings` have been told to people already."""
    from sentra_sim.kpi import cpu_cores, kpis, lane_kpis, saturated_hops, step_kpis

    found, cores, manifest, steps, lanes = kpis(run), cpu_cores(run), run.manifest, step_kpis(run), lane_kpis(run)
    piling = saturated_hops(run)
    if as_json:
        data = {
            "run": str(run.path),
            "source": manifest.source,
            "rate_eps": manifest.rate_eps,
            "validity": manifest.validity.model_dump(),
            "counters": manifest.counters,
            "kpis": [asdict(kpi) for kpi in found],
            "cpu_cores": cores,
            "saturated": piling,
            "warnings": list(warnings),
        }
        data |= steps_data(steps) | ({"lanes": [asdict(lane) for lane in lanes]} if lanes else {})
        print(json.dumps(data | ({"hops": _hop_rows(run, piling)} if hops else {})))
        return 0
    out = console()
    out.print(_kpi_table(run, found))
    if steps:
        out.print(steps_table(run, steps))
    if lanes:
        heads = [lane.lane for lane in lanes]
        out.print(side_by_side(f"{run.name}: lane by lane", heads, [lane.kpis for lane in lanes]))
    if hops:
        out.print(_hop_table(run, piling))
    out.print(_cpu_table(cores, manifest.seconds, manifest.offered_events))
    if manifest.counters:
        out.print("counts: " + ", ".join(f"{name} {value:,}" for name, value in manifest.counters.items()))
    for hop, growth in piling.items():
        out.print(
            f"[bold red]saturated[/] before {hop}: {number(growth, 'events/s')} events/s more wait there each second; "
            "offer less, or give more to what writes that hop"
        )
    _print_validity(out, run)
    return 0


def _print_validity(out: Console, run: Run) -> None:
    validity = run.manifest.validity
    if run.manifest.source == "measured":
        out.print(
            "[green]valid measurement[/]"
            if validity.valid
            else "[bold red]NOT VALID[/]: " + "; ".join(validity.reasons)
        )


def _kpi_table(run: Run, found: Sequence[Kpi]) -> Table:
    manifest = run.manifest
    title = f"{run.name}: {manifest.source}, {manifest.rate_eps:,.0f} events/s offered for {manifest.seconds:g} s"
    made = table(title, "KPI", "value", "95 % interval", "SLO", "verdict")
    for kpi in found:
        interval = f"{number(kpi.low, kpi.unit)} … {number(kpi.high, kpi.unit)}" if kpi.low is not None else "-"
        made.add_row(kpi.name, shown(kpi), interval, kpi.bound or "-", MARKS.get(kpi.verdict, kpi.verdict))
    return made


def _hop_table(run: Run, piling: Mapping[str, float]) -> Table:
    made = table("time per hop", "hop", "P50", "P95", "P99")
    for row in _hop_rows(run, piling):
        times = [number(row[f"{label}_s"], "s") for label in ("p50", "p95", "p99")]
        made.add_row(f"{row['after']} → {row['hop']}", *([MARKS["saturated"]] * 3 if row["hop"] in piling else times))
    return made


def _hop_rows(run: Run, piling: Mapping[str, float]) -> list[dict[str, Any]]:
    """Returns the times of every hop; those of one before which events pile up are the length of the run, and no times."""
    from sentra_sim.kpi import hop_breakdown

    rows = hop_breakdown(run).to_dicts()
    return [row | dict.fromkeys(_TIMES) if row["hop"] in piling else row for row in rows]


def _cpu_table(cores: dict[str, float], seconds: float, events: int) -> Table:
    made = table("CPU per process", "process", "cores", "µs/event")
    for name, value in [*cores.items(), ("in all", sum(cores.values()))]:
        made.add_row(name, f"{value:.3f}", f"{1e6 * value * seconds / max(events, 1):.2f}")
    return made

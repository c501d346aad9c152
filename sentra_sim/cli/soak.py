"""`sentra soak`: whether a process grew over a run."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from sentra_sim.cli.tables import MARKS, console, table
from sentra_sim.errors import InputError

if TYPE_CHECKING:
    from sentra_sim.kpi import Growth, Trend
    from sentra_sim.records import Run


def soak(options: Namespace) -> int:
    """Shows how memory and descriptors moved; with --enforce exit 1 when a process grows."""
    from sentra_sim.kpi import Bounds, growth
    from sentra_sim.records import read_run

    for name in ("bound", "fd_bound"):
        if not getattr(options, name) > 0:
            option = f"--{name.replace('_', '-')}"
            raise InputError(f"{option}: must be positive, got {getattr(options, name):g}; write what may pass as flat")
    bounds = Bounds(options.bound, options.fd_bound)
    run = read_run(options.run_folder)
    found = growth(run, bounds)
    if not found:
        raise InputError(
            f"{options.run_folder}: must hold process_private_memory_bytes, got none; measure it with this version"
        )
    if options.json:
        print(json.dumps({"run": str(run.path), "bounds": asdict(bounds), "processes": [asdict(one) for one in found]}))
    else:
        _print(run, bounds.memory_mb, bounds.descriptors, found)
    growing = any("grows" in (one.memory.verdict, one.descriptors.verdict) for one in found)
    return 1 if options.enforce and growing else 0


def _print(run: Run, memory_mb: float, descriptors: float, found: Sequence[Growth]) -> None:
    out = console()
    title = f"{run.name}: private memory, MB; flat is less than {memory_mb:g} MB/h"
    made = table(title, "process", "from", "start", "end", "slope, MB/h", "95 % interval", "verdict")
    for one in found:
        made.add_row(one.process, *_cells(one.memory))
    out.print(made)
    title = f"{run.name}: open descriptors; flat is less than {descriptors:g} an hour"
    made = table(title, "process", "from", "start", "end", "slope, 1/h", "95 % interval", "verdict", "most")
    for one in found:
        most = one.descriptors.highest
        made.add_row(one.process, *_cells(one.descriptors), "nodata" if most is None else f"{most:.0f}")
    out.print(made)


def _cells(trend: Trend) -> tuple[str, ...]:
    mark = MARKS.get(trend.verdict, trend.verdict)
    if trend.slope_per_h is None:
        return "-", "nodata", "nodata", "nodata", "-", mark
    slope = trend.slope_per_h
    return (
        f"{trend.cut_s:.0f} s",
        f"{trend.start:.1f}",
        f"{trend.end:.1f}",
        f"{slope.value:+.1f}",
        f"{slope.low:+.1f} … {slope.high:+.1f}",
        mark,
    )

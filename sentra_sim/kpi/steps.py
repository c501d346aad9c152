"""A run under a stepped load, seen step by step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

from sentra_sim.kpi.compute import Kpi, kpis
from sentra_sim.records import Run
from sentra_sim.scenario.arrivals import count_offered, step_edges


@dataclass(frozen=True)
class StepKpis:
    """The KPIs of one step: of the events intended while it lasted, within the run's window. Times in seconds since the epoch."""

    rate_eps: float
    start_s: float
    end_s: float
    kpis: tuple[Kpi, ...]


def step_kpis(run: Run) -> tuple[StepKpis, ...]:
    """Computes the KPIs of every step of a run, each judged by what the step offered; nothing of a run without steps."""
    return tuple(
        StepKpis(view.manifest.rate_eps, view.manifest.warmup_s, _end_s(view), kpis(view)) for view in step_runs(run)
    )


def step_runs(run: Run) -> Iterator[Run]:
    """Yields the run once per step, its window narrowed to the step; a step within the warm-up is left out."""
    load = run.manifest.load_scenario().load
    if not load.steps:
        return
    edges = step_edges(load, _end_s(run))
    for step, (start, end) in zip(load.steps, pairwise(edges), strict=False):
        first = max(start, run.manifest.warmup_s)
        if first >= end:
            continue
        window = {
            "rate_eps": step.rate_eps,
            "warmup_s": first,
            "seconds": end - first,
            "offered_events": count_offered(load, (first, end), run.manifest.seed)[0],
        }
        yield replace(run, manifest=run.manifest.model_copy(update=window))


def _end_s(run: Run) -> float:
    return run.manifest.warmup_s + run.manifest.seconds

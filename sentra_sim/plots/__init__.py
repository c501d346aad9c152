"""Frame → picture: pure functions from recorded runs to HoloViews plots, and the numbers behind them.

In a notebook, call `notebook()` once, then `compare_latency(measured, simulated)` and its siblings with runs as they were read.
"""

from __future__ import annotations

import holoviews as hv
import holoviews.plotting.bokeh  # registers the backend whose options the plots set

from sentra_sim.plots.data import RunView, hops_ms, quantile_series, slo_p95_ms, span_ms, tail_curve, view_run
from sentra_sim.plots.errors import ERROR_COLUMNS, draw_errors
from sentra_sim.plots.hops import draw_hops
from sentra_sim.plots.latency import draw_series, draw_tail
from sentra_sim.plots.look import DARK, LIGHT, Look
from sentra_sim.records import Run

__all__ = [
    "DARK",
    "ERROR_COLUMNS",
    "LIGHT",
    "Look",
    "RunView",
    "compare_hops",
    "compare_latency",
    "compare_series",
    "draw_errors",
    "draw_hops",
    "draw_series",
    "draw_tail",
    "hops_ms",
    "notebook",
    "quantile_series",
    "slo_p95_ms",
    "span_ms",
    "tail_curve",
    "view_run",
]


def notebook() -> None:
    """Makes plots appear in the notebook that calls it, from local resources alone."""
    hv.extension("bokeh", inline=True, logo=False)


def compare_latency(*runs: Run, span: str = "e2e") -> hv.Overlay:
    """Draws the latency distribution of one or two runs."""
    return draw_tail(views_of(runs, span))


def compare_series(*runs: Run, span: str = "e2e") -> hv.Overlay:
    """Draws the course of P50, P95 and P99 of one or two runs."""
    return draw_series(views_of(runs, span))


def compare_hops(*runs: Run, span: str = "e2e") -> hv.Overlay:
    """Draws the hop breakdown of one or two runs."""
    return draw_hops(views_of(runs, span))


def views_of(runs: tuple[Run, ...], span: str = "e2e") -> list[RunView]:
    """Computes what the plots show of runs, calling them by their source, or by their name where that is ambiguous."""
    sources = [run.manifest.source for run in runs]
    clear = len(set(sources)) == len(sources)
    return [view_run(run, span=span, label=run.manifest.source if clear else run.name) for run in runs]

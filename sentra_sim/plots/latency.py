"""Latency of runs side by side: its distribution down to the rarest event, and its course in time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import holoviews as hv
import polars as pl

from sentra_sim.plots.data import RunView
from sentra_sim.plots.look import LIGHT, MARKERS, TOOLS, Ink, Look, Ticks, dress, log_ticks, shape_key

PERCENTILES: Ticks = [
    (0.5, "P50"),
    (0.1, "P90"),
    (0.05, "P95"),
    (0.01, "P99"),
    (1e-3, "P99.9"),
    (1e-4, "P99.99"),
    (1e-5, "P99.999"),
    (1e-6, "P99.9999"),
]
MARKS = 12  # markers along a course


def draw_tail(views: Sequence[RunView], *, look: Look = LIGHT, height: int = 340) -> hv.Overlay:
    """Draws which share of events took longer than a latency, both axes logarithmic, with the SLO on the P95 as a line.

    Read it downwards: where a curve crosses the height of P95, 95 % of the events were faster than the latency below.
    """
    low, high = _latency_range([view.tail["latency_ms"] for view in views], _slo(views))
    rarest = min((1 / view.events for view in views if view.events), default=1e-3)
    curves: list[Any] = [
        _curve(view.tail["latency_ms"], view.tail["share_slower"], view.label, ink, ("latency", "share"))
        for view, ink in zip(views, look.inks, strict=False)
    ]
    slo = _slo(views)
    if slo is not None:
        limit = hv.Curve(([slo, slo], [rarest * 0.7, 1.15]), "latency", "share", label=f"SLO: P95 ≤ {slo:g} ms")
        point = hv.Scatter(([slo], [0.05]), "latency", "share")
        curves += [
            limit.opts(color=look.limit, line_dash="dotted", line_width=2, backend="bokeh"),
            point.opts(color=look.limit, marker="inverted_triangle", size=9, backend="bokeh"),
        ]
    return hv.Overlay(curves).opts(
        responsive=True,
        height=height,
        logx=True,
        logy=True,
        xlim=(low, high),
        ylim=(rarest * 0.7, 1.15),
        xticks=log_ticks(low, high),
        yticks=[tick for tick in PERCENTILES if tick[0] >= rarest * 0.7],
        xlabel=f"{_span_words(views)} (ms, logarithmic)",
        ylabel="percentile of events",
        show_grid=True,
        legend_position="bottom_left",
        default_tools=list(TOOLS),
        hooks=[dress(look)],
        backend="bokeh",
    )


def draw_series(views: Sequence[RunView], *, look: Look = LIGHT, height: int = 340) -> hv.Overlay:
    """Draws P50, P95 and P99 of the events sent in each half second, with the SLO on the P95 as a line."""
    slo = _slo(views)
    values = [view.series[f"{name}_ms"] for view in views for name in MARKERS]
    low, high = _latency_range(values, slo)
    parts: list[Any] = []
    for view, ink in zip(views, look.inks, strict=False):
        parts += [_course(view, name, ink) for name in MARKERS]
    for view, ink in zip(views, look.inks, strict=False):
        parts += [_marks(view, name, ink, look) for name in MARKERS]
    parts += shape_key(look, ("time", "latency"))
    if slo is not None:
        end = max(float(view.series["time_s"].max() or 0.0) for view in views)  # type: ignore[arg-type]
        limit = hv.Curve(([0.0, end], [slo, slo]), "time", "latency", label=f"SLO: P95 ≤ {slo:g} ms")
        parts.append(limit.opts(color=look.limit, line_dash="dotted", line_width=2, backend="bokeh"))
    return hv.Overlay(parts).opts(
        responsive=True,
        height=height,
        logy=True,
        ylim=(low, high),
        yticks=log_ticks(low, high),
        xlabel="time since warm-up ended (s)",
        ylabel=f"{_span_words(views)} (ms, logarithmic)",
        show_grid=True,
        legend_position="top",
        legend_cols=3,
        default_tools=list(TOOLS),
        hooks=[dress(look)],
        backend="bokeh",
    )


def _course(view: RunView, name: str, ink: Ink) -> Any:
    table = view.series.drop_nulls(f"{name}_ms")
    return _curve(table["time_s"], table[f"{name}_ms"], view.label, ink, ("time", "latency"))


def _marks(view: RunView, name: str, ink: Ink, look: Look) -> Any:
    table = view.series.drop_nulls(f"{name}_ms")
    thin = table.gather_every(max(1, table.height // MARKS))
    marks = hv.Scatter((thin["time_s"].to_numpy(), thin[f"{name}_ms"].to_numpy()), "time", "latency")
    fill = ink.colour if ink.filled else look.ground
    return marks.opts(color=fill, line_color=ink.colour, line_width=1.5, marker=MARKERS[name], size=7, backend="bokeh")


def _curve(x: pl.Series, y: pl.Series, label: str, ink: Ink, dims: tuple[str, str]) -> Any:
    curve = hv.Curve((x.to_numpy(), y.to_numpy()), *dims, label=label)
    return curve.opts(color=ink.colour, line_dash=ink.dash, line_width=2, backend="bokeh")


def _latency_range(columns: Sequence[pl.Series], slo: float | None) -> tuple[float, float]:
    ends = [end for column in columns for end in (column.min(), column.max()) if isinstance(end, float) and end > 0]
    ends += [slo] if slo is not None else []
    return (min(ends) * 0.8, max(ends) * 1.25) if ends else (1.0, 1000.0)


def _slo(views: Sequence[RunView]) -> float | None:
    return next((view.slo_ms for view in views if view.slo_ms is not None), None)


def _span_words(views: Sequence[RunView]) -> str:
    span = views[0].span if views else "e2e"
    return "end-to-end latency" if span == "e2e" else f"{span} latency"

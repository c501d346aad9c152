"""Where the time goes: the quantiles of every hop, runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import holoviews as hv
import polars as pl

from sentra_sim.plots.data import RunView
from sentra_sim.plots.look import LIGHT, MARKERS, TOOLS, Ink, Look, dress, log_ticks, shape_key

FLOOR_MS = 0.01  # below the resolution of what is recorded; a logarithmic axis has no zero
ROW_PX = 40


def draw_hops(views: Sequence[RunView], *, look: Look = LIGHT) -> hv.Overlay:
    """Draws P50, P95 and P99 of the time spent up to each hop since the hop before, one line of marks a run.

    Shape tells the quantile, colour and fill the run.
    """
    hops = list(dict.fromkeys(hop for view in views for hop in view.hops["hop"].to_list()))
    rows = {hop: float(len(hops) - number) for number, hop in enumerate(hops)}
    parts: list[Any] = []
    seen: list[float] = []
    for number, (view, ink) in enumerate(zip(views, look.inks, strict=False)):
        table = _placed(view.hops, rows, shift=0.17 if number == 0 else -0.17)
        parts.append(_ranges(table, view.label, ink))
        parts += [_marks(table, name, view.label, ink=ink, look=look) for name in MARKERS]
        seen += [value for name in MARKERS for value in table[f"{name}_ms"].drop_nulls().to_list()]
    parts += shape_key(look, ("duration", "hop"))
    low, high = (max(min(seen), FLOOR_MS) * 0.7, max(seen) * 1.4) if seen else (0.1, 100.0)
    return hv.Overlay(parts).opts(
        responsive=True,
        height=ROW_PX * max(len(hops), 2) + 110,
        logx=True,
        xlim=(low, high),
        ylim=(0.4, len(hops) + 0.6),
        xticks=log_ticks(low, high),
        yticks=[(place, hop) for hop, place in rows.items()],
        xlabel="time since the hop before (ms, logarithmic)",
        ylabel="",
        gridstyle={"ygrid_line_color": None},
        show_grid=True,
        legend_position="top",
        legend_cols=len(views) + len(MARKERS),
        default_tools=list(TOOLS),
        hooks=[dress(look)],
        backend="bokeh",
    )


def _placed(hops: pl.DataFrame, rows: dict[str, float], *, shift: float) -> pl.DataFrame:
    place = pl.col("hop").replace_strict(rows, return_dtype=pl.Float64) + shift
    above = [pl.col(f"{name}_ms").clip(lower_bound=FLOOR_MS) for name in MARKERS]
    return hops.with_columns(place.alias("place"), *above).drop_nulls([f"{name}_ms" for name in MARKERS])


def _ranges(table: pl.DataFrame, label: str, ink: Ink) -> Any:
    place = table["place"].to_numpy()
    ends = (table["p50_ms"].to_numpy(), place, table["p99_ms"].to_numpy(), place)
    lines = hv.Segments(ends, ["duration", "hop", "duration_end", "hop_end"], label=label)
    return lines.opts(color=ink.colour, line_dash=ink.dash, line_width=1.5, alpha=0.7, backend="bokeh")


def _marks(table: pl.DataFrame, name: str, label: str, *, ink: Ink, look: Look) -> Any:
    points = (table[f"{name}_ms"].to_numpy(), table["place"].to_numpy(), table["hop"].to_list())
    marks = hv.Points(points, ["duration", "hop"], "name")
    fill = ink.colour if ink.filled else look.ground
    tips = [("hop", "@name"), (f"{name.upper()} {label}", "@duration{0.00} ms")]
    return marks.opts(
        color=fill,
        line_color=ink.colour,
        line_width=1.5,
        marker=MARKERS[name],
        size=9,
        tools=["hover"],
        hover_tooltips=tips,
        backend="bokeh",
    )

"""How far predictions are off: one row a KPI, with the interval, the noise floor and the naive baseline beside it."""

from __future__ import annotations

from typing import Any

import holoviews as hv
import numpy as np
import polars as pl

from sentra_sim.plots.look import LIGHT, TOOLS, Look, dress

ERROR_COLUMNS: dict[str, Any] = {
    "label": pl.String,  # what the row is about: KPI and load
    "error": pl.Float64,  # signed, simulated against measured, as a fraction; null: no data
    "low": pl.Float64,  # interval of the error
    "high": pl.Float64,
    "target": pl.Float64,  # half-width of what is still good
    "floor": pl.Float64,  # half-width of what two repeats of the measurement differ by
    "baseline": pl.Float64,  # error of the naive prediction
}
ROW_PX = 30


def draw_errors(rows: pl.DataFrame, *, look: Look = LIGHT) -> hv.Overlay:
    """Draws a table of ERROR_COLUMNS as dots with intervals around the zero line, in percent of the measured value.

    The grey bar is the noise floor, the brackets are the target, the cross is the naive baseline.
    """
    percent = [pl.col(name) * 100 for name in ERROR_COLUMNS if name != "label"]
    table = rows.with_columns(*percent, place=float(rows.height) - pl.int_range(rows.height).cast(pl.Float64))
    ink, other = look.inks
    floor = table.drop_nulls("floor")
    bars = hv.Rectangles(
        (
            -floor["floor"].to_numpy(),
            (floor["place"] - 0.3).to_numpy(),
            floor["floor"].to_numpy(),
            (floor["place"] + 0.3).to_numpy(),
        ),
        ["error", "row", "error_end", "row_end"],
        label="noise floor",
    ).opts(color=look.band, line_color=None, backend="bokeh")
    zero = hv.Curve(([0.0, 0.0], [0.4, rows.height + 0.6]), "error", "row")
    sized = table.drop_nulls(["low", "high"])
    spans = hv.Segments(
        (sized["low"].to_numpy(), sized["place"].to_numpy(), sized["high"].to_numpy(), sized["place"].to_numpy()),
        ["error", "row", "error_end", "row_end"],
    )
    dots = _points(table, "error", "twin, with its interval")
    naive = _points(table, "baseline", "naive: nearest measured load")
    parts = [
        bars,
        zero.opts(color=look.limit, line_width=1, backend="bokeh"),
        _brackets(table, look),
        spans.opts(color=ink.colour, line_width=2, backend="bokeh"),
        dots.opts(
            color=ink.colour, marker="circle", size=10, tools=["hover"], hover_tooltips=_tips("twin"), backend="bokeh"
        ),
        naive.opts(
            color=other.colour,
            marker="x",
            size=10,
            line_width=2,
            tools=["hover"],
            hover_tooltips=_tips("naive"),
            backend="bokeh",
        ),
    ]
    return hv.Overlay(parts).opts(
        responsive=True,
        height=ROW_PX * max(rows.height, 2) + 110,
        xlim=_range(table),
        ylim=(0.4, rows.height + 0.6),
        yticks=[(place, label) for place, label in table.select("place", "label").iter_rows()],
        xlabel="error of the prediction (% of the measured value)",
        ylabel="",
        gridstyle={"ygrid_line_color": None},
        show_grid=True,
        legend_position="top",
        legend_cols=4,
        default_tools=list(TOOLS),
        hooks=[dress(look)],
        backend="bokeh",
    )


def _points(table: pl.DataFrame, column: str, label: str) -> Any:
    known = table.drop_nulls(column)
    data = (known[column].to_numpy(), known["place"].to_numpy(), known["label"].to_list())
    return hv.Points(data, ["error", "row"], "name", label=label)


def _tips(who: str) -> list[tuple[str, str]]:
    return [("", "@name"), (f"{who}, error", "@error{+0.0} %")]


def _brackets(table: pl.DataFrame, look: Look) -> Any:
    known = table.drop_nulls("target")
    ends, place = known["target"].to_numpy(), known["place"].to_numpy()
    marks = hv.Points((np.concatenate([-ends, ends]), np.concatenate([place, place])), ["error", "row"], label="target")
    return marks.opts(color=look.faint, marker="dash", angle=90, size=18, line_width=1.5, backend="bokeh")


def _range(table: pl.DataFrame) -> tuple[float, float]:
    """Returns the span of all that is drawn, zero in it, with some air."""
    spread = table.select(
        pl.concat_list("error", "low", "high", "floor", "target", "baseline", -pl.col("floor", "target"))
    )
    values = [0.0, *spread.to_series().explode().drop_nulls().to_list()]
    low, high = min(values), max(values)
    air = 0.08 * (high - low) or 10.0
    return low - air, high + air

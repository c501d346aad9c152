"""The pictures: they render, name their units, and never tell two runs apart by colour alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import holoviews as hv
import polars as pl
import pytest
from bokeh.models import Line, Scatter

from sentra_sim.plots import (
    DARK,
    ERROR_COLUMNS,
    LIGHT,
    RunView,
    compare_hops,
    compare_latency,
    compare_series,
    draw_errors,
    draw_hops,
    draw_series,
    draw_tail,
    view_run,
)
from sentra_sim.plots.look import log_ticks
from tests.builders import make_run

DRAWINGS = (draw_tail, draw_series, draw_hops)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Sequence[RunView]:
    folder = tmp_path_factory.mktemp("runs")
    return [
        view_run(make_run(folder / "m", source="measured")),
        view_run(make_run(folder / "s", source="simulated", slowness=1.2, seed=2)),
    ]


def figure(plot: Any) -> Any:
    return hv.render(plot, backend="bokeh")


@pytest.mark.parametrize("draw", DRAWINGS)
@pytest.mark.parametrize("look", [LIGHT, DARK])
def test_every_plot_renders_with_units_on_its_axes(draw: Any, look: Any, pair: Sequence[RunView]) -> None:
    drawn = figure(draw(pair, look=look))
    labels = f"{drawn.xaxis[0].axis_label} {drawn.yaxis[0].axis_label}"
    assert "(ms" in labels
    assert drawn.background_fill_color == look.ground


@pytest.mark.parametrize("draw", [draw_tail, draw_series])
def test_the_slo_is_drawn_and_named(draw: Any, pair: Sequence[RunView]) -> None:
    drawn = figure(draw(pair))
    named = [item.label.value for item in drawn.legend[0].items]
    assert "SLO: P95 ≤ 120 ms" in named


@pytest.mark.parametrize("draw", [draw_tail, draw_series])
def test_lines_of_two_runs_differ_in_dash_as_well_as_in_colour(draw: Any, pair: Sequence[RunView]) -> None:
    lines = [item.glyph for item in figure(draw(pair)).renderers if isinstance(item.glyph, Line)]
    measured = {str(line.line_dash) for line in lines if line.line_color == LIGHT.inks[0].colour}
    simulated = {str(line.line_dash) for line in lines if line.line_color == LIGHT.inks[1].colour}
    assert measured
    assert simulated
    assert not measured & simulated


def test_marks_of_two_runs_differ_in_fill_and_of_quantiles_in_shape(pair: Sequence[RunView]) -> None:
    marks = [item.glyph for item in figure(draw_hops(pair)).renderers if isinstance(item.glyph, Scatter)]
    assert {str(mark.marker) for mark in marks} >= {"circle", "square", "triangle"}
    of_runs = [mark for mark in marks if mark.line_color in {ink.colour for ink in LIGHT.inks}]
    assert {mark.fill_color for mark in of_runs} == {LIGHT.inks[0].colour, LIGHT.ground}


def test_a_run_without_data_still_draws(pair: Sequence[RunView]) -> None:
    empty = RunView(
        label="empty",
        source="measured",
        span="e2e",
        events=0,
        tail=pair[0].tail.clear(),
        series=pair[0].series.with_columns(pl.lit(None, pl.Float64).alias(f"{q}_ms") for q in ("p50", "p95", "p99")),
        hops=pair[0].hops.with_columns(pl.lit(None, pl.Float64).alias(f"{q}_ms") for q in ("p50", "p95", "p99")),
        slo_ms=None,
    )
    for draw in DRAWINGS:
        figure(draw([empty]))


def test_errors_show_interval_floor_target_and_baseline_and_survive_nodata() -> None:
    rows = pl.DataFrame(
        [
            {"label": "P95", "error": 0.08, "low": 0.02, "high": 0.14, "target": 0.2, "floor": 0.05, "baseline": 0.48},
            {"label": "lag", "error": None, "low": None, "high": None, "target": 0.1, "floor": None, "baseline": None},
        ],
        schema=ERROR_COLUMNS,
    )
    drawn = figure(draw_errors(rows))
    assert "%" in drawn.xaxis[0].axis_label
    named = {item.label.value for item in drawn.legend[0].items}
    assert {"noise floor", "target", "twin, with its interval", "naive: nearest measured load"} <= named
    assert drawn.x_range.end >= 48.0


def test_comparisons_take_runs_as_they_were_read(tmp_path: Path) -> None:
    runs = make_run(tmp_path / "a"), make_run(tmp_path / "b", seed=5)
    drawn = figure(compare_latency(*runs))
    # Two measured runs cannot both be called "measured".
    assert {"a", "b"} <= {item.label.value for item in drawn.legend[0].items}
    figure(compare_series(*runs))
    figure(compare_hops(*runs))


def test_ticks_thin_out_over_many_decades() -> None:
    assert [text for _, text in log_ticks(1, 100)] == ["1", "2", "5", "10", "20", "50", "100"]
    assert [text for _, text in log_ticks(0.1, 10_000)] == ["0.1", "1", "10", "100", "1000", "10000"]

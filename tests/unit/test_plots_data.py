"""The numbers behind the plots: exact quantiles of all events, missing kept apart from zero."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sentra_sim.kpi import kpis
from sentra_sim.plots import quantile_series, tail_curve, view_run
from tests.builders import make_run


def test_tail_passes_through_the_exact_quantiles_of_all_events(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a")
    view = view_run(run)
    by_name = {kpi.name: kpi.value for kpi in kpis(run)}
    share, latency = view.tail["share_slower"].to_numpy()[::-1], view.tail["latency_ms"].to_numpy()[::-1]
    for q, name in ((0.5, "e2e_p50_s"), (0.95, "e2e_p95_s"), (0.99, "e2e_p99_s")):
        drawn = np.exp(np.interp(np.log(1 - q), np.log(share), np.log(latency)))
        assert drawn == pytest.approx(by_name[name] * 1e3, rel=0.01)
    assert view.events == run.manifest.offered_events
    assert view.slo_ms == 120.0


def test_tail_ends_at_the_slowest_event_and_is_thinned() -> None:
    latency = np.random.default_rng(3).exponential(10.0, 200_000)
    tail = tail_curve(latency, points=200)
    assert tail.height <= 200
    assert tail["latency_ms"].max() == latency.max()
    assert tail["share_slower"].min() == 1 / len(latency)
    assert tail["latency_ms"].is_sorted()


def test_an_event_that_never_arrived_weighs_on_the_tail_but_draws_no_point() -> None:
    tail = tail_curve(np.array([1.0, 2.0, 3.0, np.inf]), points=4)
    assert tail["latency_ms"].to_list() == [1.0, 2.0, 3.0]
    assert tail["share_slower"].to_list() == [1.0, 0.75, 0.5]


def test_no_events_is_an_empty_curve_and_null_bins() -> None:
    assert tail_curve(np.empty(0)).height == 0
    series = quantile_series(np.empty(0), np.empty(0), seconds=1.0)
    assert series["p95_ms"].to_list() == [None, None]


def test_series_holds_each_bins_own_quantiles() -> None:
    time = np.array([0.0, 0.1, 0.2, 0.6, 0.7])
    series = quantile_series(time, np.array([1.0, 2.0, 3.0, 10.0, 20.0]), seconds=1.0)
    assert series["time_s"].to_list() == [0.25, 0.75]
    assert series["p50_ms"].to_list() == [2.0, 15.0]
    assert series["events"].to_list() == [3, 2]


def test_series_says_nodata_where_the_quantile_lies_among_the_lost(tmp_path: Path) -> None:
    series = view_run(make_run(tmp_path / "a", lost_frames=30)).series
    assert series["p99_ms"].null_count() > 0
    assert series["p99_ms"].null_count() < series.height
    assert series["events"].min() > 0


def test_hops_are_in_the_order_of_a_frames_way_and_in_milliseconds(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", slowness=3.0)
    hops = view_run(run).hops
    assert hops["hop"].to_list() == list(run.manifest.hops())
    # Every hop after the first was drawn with a median of 3 times 2 ms.
    assert hops["p50_ms"][1:].to_numpy() == pytest.approx(6.0, rel=0.25)

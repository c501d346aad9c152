"""What the plots show, as numbers: everything is computed from all events of the window, only what is drawn is thinned."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sentra_sim.kpi import QUANTILES, Timeline, breakdown_of, timeline
from sentra_sim.records import Run
from sentra_sim.scenario import Scenario
from sentra_sim.units import MS_PER_S

Floats = NDArray[np.float64]

SERIES_BIN_S = 0.5
TAIL_POINTS = 400


@dataclass(frozen=True)
class RunView:
    """All that the plots draw of one run.

    `tail`: latency_ms and share_slower, falling. `series`: time_s since the window's start, p50_ms, p95_ms, p99_ms, events.
    `hops`: hop, after, station, p50_ms, p95_ms, p99_ms. Nulls stand for what the run holds no data of. `slo_ms` is the bound
    on the span's P95, None without one.
    """

    label: str
    source: str
    span: str
    events: int
    tail: pl.DataFrame
    series: pl.DataFrame
    hops: pl.DataFrame
    slo_ms: float | None


def view_run(run: Run, *, span: str = "e2e", label: str | None = None) -> RunView:
    """Computes what the plots show of a run.

    Args:
        run: the run, measured or simulated.
        span: the latency KPI of the run's scenario whose distribution and course are shown.
        label: how legends call the run; its source without one.

    Raises:
        KeyError: the run's scenario has no such span.
    """
    scenario = run.manifest.load_scenario()
    line = timeline(run)
    latency_ms = span_ms(line, scenario, span)
    return RunView(
        label=label or run.manifest.source,
        source=run.manifest.source,
        span=span,
        events=len(latency_ms),
        tail=tail_curve(latency_ms),
        series=quantile_series(line.intended_s - line.window_s[0], latency_ms, line.window_s[1] - line.window_s[0]),
        hops=hops_ms(line, scenario),
        slo_ms=slo_p95_ms(scenario, span),
    )


def span_ms(line: Timeline, scenario: Scenario, span: str) -> Floats:
    """Returns a span's latency of every event of the window, shape (events,); infinite where the event never arrived."""
    ends = scenario.kpis[span]
    values = line.span(ends.start, ends.end) * MS_PER_S
    return np.where(np.isnan(values), np.inf, values)


def tail_curve(latency_ms: Floats, points: int = TAIL_POINTS) -> pl.DataFrame:
    """Returns latency_ms and share_slower, the share of events that took at least as long, falling from one.

    The points are exact order statistics of all events, evenly spaced in the logarithm of the share, so that the tail is
    as finely drawn as the body. Events that never arrived are in the share, but no point stands for them.

    >>> tail_curve(np.arange(1.0, 11.0), points=3)["latency_ms"].to_list()
    [1.0, 8.0, 10.0]
    """
    count = len(latency_ms)
    if count == 0:
        return pl.DataFrame(schema={"latency_ms": pl.Float64, "share_slower": pl.Float64})
    ranks = np.unique(np.rint(np.geomspace(1, count, points)).astype(np.int64))[::-1]
    ordered = np.sort(latency_ms)[count - ranks]
    table = pl.DataFrame({"latency_ms": ordered, "share_slower": ranks / count})
    return table.filter(pl.col("latency_ms").is_finite())


def quantile_series(time_s: Floats, latency_ms: Floats, seconds: float, bin_s: float = SERIES_BIN_S) -> pl.DataFrame:
    """Returns P50, P95 and P99 in ms of the events intended in each bin: time_s (the bin's middle), p50_ms, ..., events.

    Args:
        time_s: intended send times in order, shape (events,), seconds since the window's start.
        latency_ms: latency of the same events, infinite where one never arrived.
        seconds: the window's length.
        bin_s: the bins' width.
    """
    bins = max(int(np.ceil(seconds / bin_s - 1e-9)), 1)
    edges = np.searchsorted(time_s, np.arange(bins + 1) * bin_s)
    rows = [_bin_quantiles(latency_ms[low:high]) for low, high in itertools.pairwise(edges)]
    columns: dict[str, list[float | None]] = {
        f"{name}_ms": [row[number] for row in rows] for number, name in enumerate(QUANTILES)
    }
    middles = (np.arange(bins) + 0.5) * bin_s
    schema = {"time_s": pl.Float64} | dict.fromkeys(columns, pl.Float64) | {"events": pl.Int64}
    return pl.DataFrame({"time_s": middles, **columns, "events": np.diff(edges)}, schema=schema)


def hops_ms(line: Timeline, scenario: Scenario) -> pl.DataFrame:
    """Returns P50, P95 and P99 in ms of the time between each hop and the one before; every event counts once."""
    table = breakdown_of(line, scenario)
    return table.select(
        "hop", "after", "station", *((pl.col(f"{name}_s") * MS_PER_S).alias(f"{name}_ms") for name in QUANTILES)
    )


def slo_p95_ms(scenario: Scenario, span: str) -> float | None:
    """Returns the SLO's bound on a span's P95 in ms, None where the scenario sets none."""
    bound = scenario.slo.get(f"{span}_p95_s")
    return None if bound is None or bound.max is None else bound.max * MS_PER_S


def _bin_quantiles(latency_ms: Floats) -> list[float | None]:
    if not len(latency_ms):
        return [None] * len(QUANTILES)
    # `higher` never interpolates towards an event that did not arrive.
    lossy = not np.isfinite(latency_ms).all()
    values = np.quantile(latency_ms, list(QUANTILES.values()), method="higher" if lossy else "linear")
    return [float(value) if np.isfinite(value) else None for value in values]

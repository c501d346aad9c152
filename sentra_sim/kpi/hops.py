"""Where the time goes: every hop's share of an event's way."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from sentra_sim.kpi.compute import QUANTILES
from sentra_sim.kpi.saturation import backlog_growth, saturated
from sentra_sim.kpi.timeline import Timeline, timeline
from sentra_sim.records import Run
from sentra_sim.scenario import Scenario, hop_edges


def hop_breakdown(run: Run) -> pl.DataFrame:
    """Returns one row per hop: hop, after, station, mean_s, p50_s, p95_s, p99_s of the time since the hop before.

    Every frame counts as often as it has events in the window; the hop after `intended` is that of the frame's first event, since a
    frame is received when its first event is. A hop without data has nulls.
    """
    return breakdown_of(timeline(run), run.manifest.load_scenario())


def saturated_hops(run: Run) -> dict[str, float]:
    """Returns the hops before which events pile up, in order of a frame's way, each with by how many events/s more there are."""
    line, found = timeline(run), {}
    for edge in hop_edges(run.manifest.load_scenario()):
        growth = backlog_growth(line, edge.hop, edge.after)
        if growth is not None and saturated(growth, line):
            found[edge.hop] = growth.value
    return found


def breakdown_of(line: Timeline, scenario: Scenario) -> pl.DataFrame:
    """Returns the breakdown of a window already cut; columns as in `hop_breakdown`."""
    rows = []
    for edge in hop_edges(scenario):
        values = line.hop_span(edge)
        values = values[~np.isnan(values)]
        known = len(values) > 0
        quantiles = np.quantile(values, list(QUANTILES.values())) if known else [None] * len(QUANTILES)
        rows.append(
            {
                "hop": edge.hop,
                "after": edge.after,
                "station": edge.station,
                "mean_s": float(values.mean()) if known else None,
            }
            | {f"{label}_s": value for label, value in zip(QUANTILES, quantiles, strict=True)}
        )
    numbers: dict[str, Any] = dict.fromkeys(("mean_s", *(f"{label}_s" for label in QUANTILES)), pl.Float64)
    return pl.DataFrame(rows, schema={"hop": pl.String, "after": pl.String, "station": pl.String} | numbers)

"""KPIs, computed once for both sources of a run."""

from sentra_sim.kpi.compute import (
    QUANTILES,
    SATURATED,
    Kpi,
    breaches,
    cpu_cores,
    end_to_end,
    final_hop,
    kpis,
    window_metric,
)
from sentra_sim.kpi.floor import Floor, noise_floor
from sentra_sim.kpi.hops import breakdown_of, hop_breakdown, saturated_hops
from sentra_sim.kpi.lanes import LaneKpis, lane_kpis
from sentra_sim.kpi.memory import Bounds, Growth, Trend, growth, trend
from sentra_sim.kpi.spans import RecordedSpan, read_spans
from sentra_sim.kpi.steps import StepKpis, step_kpis, step_runs
from sentra_sim.kpi.timeline import Timeline, timeline, window_of
from sentra_sim.kpi.waterfall import Step, Waterfall, slowest, waterfall

__all__ = [
    "QUANTILES",
    "SATURATED",
    "Bounds",
    "Floor",
    "Growth",
    "Kpi",
    "LaneKpis",
    "RecordedSpan",
    "Step",
    "StepKpis",
    "Timeline",
    "Trend",
    "Waterfall",
    "breaches",
    "breakdown_of",
    "cpu_cores",
    "end_to_end",
    "final_hop",
    "growth",
    "hop_breakdown",
    "kpis",
    "lane_kpis",
    "noise_floor",
    "read_spans",
    "saturated_hops",
    "slowest",
    "step_kpis",
    "step_runs",
    "timeline",
    "trend",
    "waterfall",
    "window_metric",
    "window_of",
]

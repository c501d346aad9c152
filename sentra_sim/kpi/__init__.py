"""KPIs, computed once for both sources of a run."""

from sentra_sim.kpi.compute import QUANTILES, Kpi, breaches, cpu_cores, end_to_end, final_hop, kpis, window_metric
from sentra_sim.kpi.hops import breakdown_of, hop_breakdown
from sentra_sim.kpi.spans import RecordedSpan, read_spans
from sentra_sim.kpi.timeline import Timeline, timeline, window_of
from sentra_sim.kpi.waterfall import Step, Waterfall, slowest, waterfall

__all__ = [
    "QUANTILES",
    "Kpi",
    "RecordedSpan",
    "Step",
    "Timeline",
    "Waterfall",
    "breaches",
    "breakdown_of",
    "cpu_cores",
    "end_to_end",
    "final_hop",
    "hop_breakdown",
    "kpis",
    "read_spans",
    "slowest",
    "timeline",
    "waterfall",
    "window_metric",
    "window_of",
]

"""Estimates with their errors, and how long to go on for them."""

from sentra_sim.stats.intervals import (
    SECTIONS,
    TREND_SECTIONS,
    Interval,
    mean_interval,
    paired_interval,
    quantile_interval,
    range_over_mean,
    replication_interval,
    share_interval,
    trend_interval,
)
from sentra_sim.stats.paired import Comparison, Difference, until_difference
from sentra_sim.stats.precision import Precision, relative_half_width, until_half_width
from sentra_sim.stats.tally import Tally
from sentra_sim.stats.warmup import warmup_cut

__all__ = [
    "SECTIONS",
    "TREND_SECTIONS",
    "Comparison",
    "Difference",
    "Interval",
    "Precision",
    "Tally",
    "mean_interval",
    "paired_interval",
    "quantile_interval",
    "range_over_mean",
    "relative_half_width",
    "replication_interval",
    "share_interval",
    "trend_interval",
    "until_difference",
    "until_half_width",
    "warmup_cut",
]

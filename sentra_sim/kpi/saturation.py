"""Does a run's backlog grow? Then its latencies tell how long it lasted, and nothing else."""

from __future__ import annotations

import numpy as np

from sentra_sim.kpi.timeline import Floats, Timeline
from sentra_sim.stats import TREND_SECTIONS, Interval, trend_interval

LEAST_S = 5.0  # a shorter window shows waves, not trends
LEAST_SHARE = 0.01  # of the offered rate: below it a backlog that grows is one that varies


def backlog_growth(line: Timeline, end: str) -> Interval | None:
    """Returns by how many events/s those grow in the window that are intended and not yet at hop `end`.

    The slope of a line through the backlog, with an interval that allows for its autocorrelation; None in a window too short for it.
    """
    start, stop = line.window_s
    if stop - start < LEAST_S:
        return None
    edges = np.linspace(*line.window_s, 4 * TREND_SECTIONS + 1)[1:]
    if len(line.intended_s) < len(edges):
        return None
    return trend_interval(edges, _backlog(line, end, edges))


def saturated(growth: Interval | None, line: Timeline) -> bool:
    """Tells whether the backlog surely grows, and by more than a hundredth of what is offered."""
    start, end = line.window_s
    return growth is not None and growth.low > LEAST_SHARE * len(line.intended_s) / (end - start)


def _backlog(line: Timeline, end: str, edges: Floats) -> Floats:
    """Counts at each edge the events intended by then, warm-up included, that have not arrived; what never does stays."""
    arrived_s = line.hops[end]
    carried = np.bincount(np.concatenate([line.earlier, line.frame]), minlength=len(arrived_s))
    order = np.argsort(arrived_s)  # NaN sorts last
    arrived = np.concatenate([[0], np.cumsum(carried[order])])[np.searchsorted(arrived_s[order], edges, side="right")]
    intended = len(line.earlier) + np.searchsorted(line.intended_s, edges, side="right")
    return np.asarray(intended - arrived, dtype=np.float64)

"""Does a run's backlog grow? Then its latencies tell how long it lasted, and nothing else."""

from __future__ import annotations

import numpy as np

from sentra_sim.kpi.timeline import Floats, Timeline
from sentra_sim.scenario import INTENDED
from sentra_sim.stats import TREND_SECTIONS, Interval, trend_interval

LEAST_S = 5.0  # a shorter window shows waves, not trends
LEAST_SHARE = 0.01  # of the offered rate: below it a backlog that grows is one that varies


def backlog_growth(line: Timeline, end: str, start: str = INTENDED) -> Interval | None:
    """Returns by how many events/s those grow in the window that have passed hop `start` and are not yet at hop `end`.

    The slope of a line through the backlog, with an interval that allows for its autocorrelation; None in a window too short for it.
    """
    first, last = line.window_s
    if last - first < LEAST_S:
        return None
    edges = np.linspace(*line.window_s, 4 * TREND_SECTIONS + 1)[1:]
    if len(line.intended_s) < len(edges):
        return None
    return trend_interval(edges, _passed(line, start, edges) - _passed(line, end, edges))


def saturated(growth: Interval | None, line: Timeline) -> bool:
    """Tells whether the backlog surely grows, and by more than a hundredth of what is offered."""
    start, end = line.window_s
    return growth is not None and growth.low > LEAST_SHARE * len(line.intended_s) / (end - start)


def _passed(line: Timeline, hop: str, edges: Floats) -> Floats:
    """Counts at each edge the events that have passed a hop by then, warm-up included, but not those that were dropped anywhere."""
    earlier, frame, intended_s = line.earlier, line.frame, line.intended_s
    if line.dropped is not None:  # they are gone, so they are no backlog
        kept = ~line.dropped[frame]
        earlier, frame, intended_s = earlier[~line.dropped[earlier]], frame[kept], intended_s[kept]
    if hop == INTENDED:
        return np.asarray(len(earlier) + np.searchsorted(intended_s, edges, side="right"), dtype=np.float64)
    passed_s = line.hops[hop]
    carried = np.bincount(np.concatenate([earlier, frame]), minlength=len(passed_s))
    order = np.argsort(passed_s)  # NaN sorts last
    passed = np.concatenate([[0], np.cumsum(carried[order])])[np.searchsorted(passed_s[order], edges, side="right")]
    return np.asarray(passed, dtype=np.float64)

"""Holds a run that keeps statistics only, and uses its rows again, against the trace of the same run."""

from collections.abc import Sequence

import numpy as np
import pytest

from sentra_sim.engine import Change, Trace, prepare, run_statistics
from sentra_sim.engine.parted import part
from sentra_sim.engine.trace import DLQ, DUPLICATE, EVENT_SHED, LOST, NOT_TAKEN, OK, SHED
from sentra_sim.kpi import final_hop
from sentra_sim.scenario import Scenario
from tests.pipelines import event_times, hop_times


def assert_counted(
    scenario: Scenario, trace: Trace, *, seconds: float, seed: int, changes: Sequence[Change] = ()
) -> None:
    """Counts the events of a run anew, without keeping them: every one is in one place, as in its trace."""
    plan = prepare(scenario, seconds=seconds, seed=seed, keep=False)
    found = run_statistics(plan, changes=changes)
    assert (found.frames, found.polls) == (len(trace.events), trace.poll.max(initial=-1) + 1)
    assert found.frame_hops == np.isfinite(trace.hops_s).sum()
    trace = part(plan, trace)
    frame = trace.frame
    taken = frame >= 0
    outcome = np.append(trace.outcome, [SHED, -1])[frame]  # EVENT_SHED, NOT_TAKEN
    assert (EVENT_SHED, NOT_TAKEN) == (-2, -1)
    reached = np.append(np.isfinite(hop_times(scenario, trace, final_hop(scenario))), [False, False])[frame]
    assert found.offered == len(frame)
    assert found.taken == taken.sum()
    assert found.delivered == (reached & np.isin(outcome, (OK, DUPLICATE))).sum()
    assert (found.shed, found.dlq, found.lost) == tuple((outcome == ended).sum() for ended in (SHED, DLQ, LOST))
    assert found.in_flight >= 0
    np.testing.assert_array_equal(found.cpu_s, trace.cpu_s)
    intended_s = plan.offered.intended_s
    for name, span in scenario.kpis.items():
        start_s = intended_s if span.start == "intended" else event_times(scenario, trace, span.start)
        times_s = event_times(scenario, trace, span.end) - start_s
        if span.start != "intended":
            times_s = times_s[taken]
        assert found.spans[name].missing == np.isnan(times_s).sum()
        assert found.spans[name].count == len(times_s)
        assert found.spans[name].sum_s == pytest.approx(np.nansum(times_s), rel=1e-9, abs=1e-9)

"""Frames of which some events were put aside or dropped, as two frames each: what has one outcome is one frame in a run's record."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sentra_sim.engine.plan import Plan
from sentra_sim.engine.trace import DLQ, LOST, Trace
from sentra_sim.scenario import ConsumerGroup, hop_edges, only


def part(plan: Plan, trace: Trace) -> Trace:
    """Returns a trace in which the dead events of frames that went on without them are frames of their own, after all others."""
    mixed = np.flatnonzero((trace.dead > 0) & (trace.dead < trace.events))
    if not len(mixed):
        return trace
    group = only(plan.scenario, ConsumerGroup)[1]
    started = [edge.hop for edge in hop_edges(plan.scenario)].index(group.hop)
    hops_s = trace.hops_s[mixed]
    hops_s[:, started + 1 :] = np.nan
    events = trace.events.copy()
    events[mixed] -= trace.dead[mixed]
    of_mixed = np.full(len(events), -1)
    of_mixed[mixed] = len(events) + np.arange(len(mixed))
    frame = trace.frame.copy()
    moved = np.flatnonzero(trace.poison & (frame >= 0))
    moved = moved[of_mixed[frame[moved]] >= 0]
    frame[moved] = of_mixed[frame[moved]]
    whole = np.where(trace.dead == trace.events, trace.dead, 0)
    nothing = np.zeros(len(mixed), dtype=np.int32)
    return replace(
        trace,
        partition=np.append(trace.partition, trace.partition[mixed]),
        events=np.append(events, trace.dead[mixed]),
        poll=np.append(trace.poll, trace.poll[mixed]),
        hops_s=np.append(trace.hops_s, hops_s, axis=0),
        frame=frame,
        canary_events=np.append(trace.canary_events, nothing),
        outcome=np.append(trace.outcome, np.full(len(mixed), DLQ if group.dlq else LOST, dtype=np.int8)),
        attempts=np.append(trace.attempts, trace.attempts[mixed]),
        repeats=np.append(trace.repeats, nothing),
        dead=np.append(whole, trace.dead[mixed]).astype(np.int32),
    )

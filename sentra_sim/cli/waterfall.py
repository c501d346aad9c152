"""An event's way, drawn in a terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from sentra_sim.cli.tables import console, number, table
from sentra_sim.kpi import RecordedSpan, Step, Waterfall
from sentra_sim.units import NS_PER_S

BAR_CELLS = 48


def print_waterfalls(ways: Sequence[Waterfall], *, as_json: bool) -> int:
    """Prints each way as a table with bars on one scale, from the intended send time on."""
    if as_json:
        print(json.dumps([asdict(way) for way in ways]))
        return 0
    out = console()
    for way in ways:
        told = (
            f"event {way.event} · end to end {number(way.latency_s, 's')} · sent {way.intended_s:.3f} s after the start"
        )
        told += f" · trace {way.trace_id}" if way.trace_id else ""
        told += f" · partition {way.partition}, frame of {way.frame_events} events, poll {way.poll}, {way.outcome}"
        shown = table(told, "hop", "station", "from", "to", "took")
        shown.add_column("", no_wrap=True)
        # What takes far longer beside the way to the user, as a store for analysis does, would leave no cell for the rest.
        end_s = way.latency_s or max((step.end_s or 0.0 for step in way.steps), default=0.0)
        for step in way.steps:
            took = None if step.start_s is None or step.end_s is None else step.end_s - step.start_s
            times = (number(value, "s") for value in (step.start_s, step.end_s, took))
            shown.add_row(step.hop, step.station, *times, bar(step, end_s))
        out.print(shown)
    return 0


def print_spans(spans: Sequence[RecordedSpan], *, as_json: bool) -> int:
    """Prints recorded spans as one table, times from the start of each trace on."""
    if as_json:
        print(json.dumps([asdict(span) for span in spans]))
        return 0
    if not spans:
        print("no spans: frames are traced by sampling, OTEL_TRACES_SAMPLER_ARG=1 at the measurement traces each")
        return 0
    names = {span.span_id: span.name for span in spans}
    begun = {span.trace_id: min(s.start_ns for s in spans if s.trace_id == span.trace_id) for span in spans}
    shown = table("recorded spans", "trace", "span", "process", "parent", "from", "took", "links")
    for span in spans:
        times = (
            number(ns / NS_PER_S, "s") for ns in (span.start_ns - begun[span.trace_id], span.end_ns - span.start_ns)
        )
        parent = names.get(span.parent_id or "", "")
        shown.add_row(span.trace_id, span.name, span.process, parent, *times, str(len(span.links)))
    console().print(shown)
    return 0


def bar(step: Step, end_s: float) -> str:
    """Returns a step as cells of a line that ends at `end_s`; an arrow stands for what lies beyond, a dot for what is too short."""
    if step.start_s is None or step.end_s is None or end_s <= 0.0:
        return ""
    first, last = (max(0, round(BAR_CELLS * at / end_s)) for at in (step.start_s, step.end_s))
    if first >= BAR_CELLS and last > first:
        return " " * BAR_CELLS + "→"
    inside = min(last, BAR_CELLS)
    return " " * first + ("█" * (inside - first) or "·") + ("→" if last > BAR_CELLS else "")

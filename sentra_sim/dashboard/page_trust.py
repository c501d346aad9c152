"""Trust: may the twin be trusted right now, how far is it off, and what does that rest on."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from sentra_sim.dashboard import frame
from sentra_sim.dashboard.frame import pn
from sentra_sim.dashboard.store import Entry, Store
from sentra_sim.dashboard.trust import Step, Trust, assess, error_table, held_out_first, rows_at
from sentra_sim.dashboard.words import (
    NARROW,
    amount,
    badge,
    date_words,
    facts,
    interval,
    kpi_words,
    rate_words,
    signed_percent,
    table,
)
from sentra_sim.plots import draw_errors
from sentra_sim.twin import LoadPoint, Row, Validation
from sentra_sim.twin.validate import FLOOR_FACTOR

CLASSES = {"yes": "good", "no": "poor", "not known": "fair"}
WORDS = {"yes": "Yes", "no": "No", "not known": "Not known"}
RULE = (
    f"<b>good</b>: the error is within the target, or within {FLOOR_FACTOR:g} × the noise floor where that is wider · "
    "<b>fair</b>: within twice that · <b>poor</b>: beyond · KPIs without a target are shown, not judged"
)
HEADERS = (
    "KPI",
    "simulated [90 % interval]",
    "measured",
    "noise floor",
    "naive baseline",
    "target",
    "deviation",
    "class",
)
HOP_HEADERS = ("hop", "simulated [90 % interval]", "measured", "deviation", "noise floor")


def build(store: Store) -> Any:
    """Returns the page."""
    entries = store.entries()
    trust = assess(store.folder, entries)
    panels: dict[str, Any] = {}
    after = ""
    if trust.validation:
        rows = error_table(trust.validation)
        if rows.height:
            heading = frame.html(
                "<h2>Error of the prediction</h2><p class='hint'>at loads that the twin was never shown</p>"
            )
            panels["errors"] = pn.Column(
                heading, frame.plot(draw_errors(rows, look=frame.look())), margin=0, sizing_mode="stretch_width"
            )
        after = _loads_html(trust.validation)
    after += _ground_html(trust, entries)
    body = _verdict_html(trust) + (_steps_html(trust.steps) if trust.steps else "")
    return frame.page(frame.Frame("trust", panels, body=body, after=after), str(store.folder))


def _verdict_html(trust: Trust) -> str:
    return (
        f'<section class="panel verdict {CLASSES[trust.state]}" aria-label="verdict">'
        f'<span class="word">{WORDS[trust.state]}</span>'
        f'<div><h1>May the twin be trusted right now?</h1><p class="reason">{escape(trust.reason)}</p></div></section>'
    )


def _steps_html(steps: Sequence[Step]) -> str:
    lines = "".join(f"<li>{escape(step.what)}<br><code>{escape(step.command)}</code></li>" for step in steps)
    return (
        '<section class="panel steps"><h2>What is missing</h2>'
        '<p class="hint"><code>make demo</code> makes all of it in one go; by hand:</p>'
        f'<ol class="steps">{lines}</ol></section>'
    )


def _loads_html(validation: Validation) -> str:
    parts = [_load_html(validation, point) for point in held_out_first(validation) if point.held_out]
    others = [_load_html(validation, point) for point in held_out_first(validation) if not point.held_out]
    more = ""
    if others:
        title = f"Loads that the twin was fitted on ({len(others)}): not a test"
        more = f'<details><summary>{title}</summary><div class="loads">{"".join(others)}</div></details>'
    return f'<section class="panel loads-panel"><div class="loads">{"".join(parts)}<p class="hint">{RULE}</p>{more}</div></section>'


def _load_html(validation: Validation, point: LoadPoint) -> str:
    busy = f" · {point.busy_fraction:.0%} of the cores busy" if point.busy_fraction is not None else ""
    kind = "held out" if point.held_out else "training"
    caption = f"{rate_words(point.rate_eps)} · {kind}{busy} · measured in {escape(', '.join(point.runs))}"
    kpis = table(HEADERS, [_cells(row) for row in rows_at(validation, point, "kpi")], caption=caption, kind="words")
    hops = rows_at(validation, point, "hop")
    if not hops:
        return f"<div>{kpis}</div>"
    inner = table(HOP_HEADERS, [_hop_cells(row) for row in hops])
    return f"<div>{kpis}<details><summary>Per hop</summary>{inner}</details></div>"


def _cells(row: Row) -> tuple[str, ...]:
    target = f"±{row.target * 100:g}{NARROW}%" if row.target is not None else "–"
    return (
        escape(kpi_words(row.name)),
        _simulated(row),
        amount(row.measured, row.unit),
        _floor(row),
        signed_percent(row.baseline_error) if row.baseline_error is not None else "–",
        target,
        f"<b>{signed_percent(row.error)}</b>",
        badge(row.grade) if row.grade else '<span class="badge none">not judged</span>',
    )


def _hop_cells(row: Row) -> tuple[str, ...]:
    return (
        escape(kpi_words(row.name)),
        _simulated(row),
        amount(row.measured, row.unit),
        signed_percent(row.error),
        _floor(row),
    )


def _simulated(row: Row) -> str:
    return f"{amount(row.simulated, row.unit)} <small>{interval(row.low, row.high, row.unit)}</small>"


def _floor(row: Row) -> str:
    return f"±{row.floor * 100:.1f}{NARROW}%" if row.floor is not None else "nodata"


def _ground_html(trust: Trust, entries: Sequence[Entry]) -> str:
    """What the verdict rests on: the twin's hash, runs with their dates, the machine, the versions."""
    pairs: list[tuple[str, str]] = []
    if trust.twin and trust.twin_sha256:
        twin = trust.twin
        training = [f"{run.name} ({rate_words(run.rate_eps)}, {date_words(run.started_at)})" for run in twin.training]
        pairs += [
            (
                "twin",
                f"<code>{trust.twin_sha256}</code> fitted {date_words(twin.created_at)}, host discipline {escape(twin.discipline)}",
            ),
            ("fitted on", _lines(training)),
        ]
    if trust.validation:
        dates = {entry.name: entry.manifest.started_at for entry in entries if entry.manifest}
        held_out = [
            f"{name} ({rate_words(point.rate_eps)}, {date_words(dates[name]) if name in dates else 'no longer in the folder'})"
            for point in trust.validation.points
            if point.held_out
            for name in point.runs
        ]
        pairs.append(("held out", _lines(held_out) if held_out else "nothing"))
    if trust.twin:
        machine, versions = trust.twin.machine, trust.twin.versions
        pairs += [
            ("machine", escape(" · ".join(f"{name.replace('_', ' ')} {value}" for name, value in machine.items()))),
            ("versions", escape(" · ".join(f"{name} {value}" for name, value in versions.items()))),
        ]
    damaged = [f"{entry.name}: {entry.problem}" for entry in entries if entry.problem]
    if damaged:
        pairs.append(("cannot be read", _lines(damaged)))
    return f'<section class="panel ground"><h2>What this rests on</h2>{facts(pairs)}</section>' if pairs else ""


def _lines(texts: Sequence[str]) -> str:
    return "<br>".join(escape(text) for text in texts)

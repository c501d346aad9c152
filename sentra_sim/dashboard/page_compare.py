"""Compare: two runs side by side. The URL holds which, so that a reload or a copied link shows the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from html import escape
from typing import Any

from sentra_sim.dashboard import frame
from sentra_sim.dashboard.frame import pn
from sentra_sim.dashboard.store import Digest, Entry, Store
from sentra_sim.dashboard.trust import assess, held_out_runs
from sentra_sim.dashboard.words import (
    NARROW,
    amount,
    badge,
    date_words,
    interval,
    kpi_words,
    notice,
    rate_words,
    sign,
    signed_percent,
    table,
)
from sentra_sim.errors import SentraError
from sentra_sim.kpi import SATURATED, Kpi
from sentra_sim.plots import RunView, draw_hops, draw_series, draw_tail

SELECT_CSS = """
:host { color: var(--text); font-family: var(--font); }
label { color: var(--faint); font-size: 12px; }
select.bk-input { background-color: var(--card); color: var(--text); border: 1px solid var(--line); border-radius: 6px; }
select:not([multiple]).bk-input { appearance: auto; background-image: none; }
select.bk-input { height: 34px; font-size: 14px; }
select.bk-input:focus { border-color: var(--accent); box-shadow: none; }
"""
LOAD = "data/scenarios/sentra.yaml --rate 50000 --seconds 30"
EMPTY_STEPS = (("measured", "measure", "measured-50k"), ("simulated", "simulate", "simulated-50k"))
SLOTS = ("reference", "compared")
HEADINGS = {
    "tail": ("Latency distribution", "how many events took longer, down to the rarest"),
    "series": ("Latency over time", "events sent in each half second"),
    "hops": ("Where the time goes", "each hop's own share of the way"),
    "kpis": ("KPIs", "with 95 % intervals; ✓ holds the SLO, ✗ breaks it"),
}


def build(store: Store) -> Any:
    """Returns the page."""
    entries = store.entries()
    trust = assess(store.folder, entries)
    pair = store.default_pair(held_out_runs(trust.validation))
    damaged = _damaged_html(entries)
    if pair is None:
        return frame.page(frame.Frame("compare", {}, body=_empty_html(store) + damaged), str(store.folder))
    asked, remarks = _asked(entries, pair)
    selects = tuple(_select(slot, entries, name) for slot, name in zip(SLOTS, asked, strict=True))
    panels = {name: pn.Column(margin=0, sizing_mode="stretch_width") for name in ("about", *HEADINGS)}
    look = frame.look()

    def show(*_: Any) -> None:
        for name, content in _contents(store, selects[0].value, selects[1].value, look).items():
            panels[name].objects = content

    show()
    for select in selects:
        select.param.watch(show, "value")
    # Only once the browser has reported its URL, else that report would undo what is written here.
    pn.state.onload(lambda: _keep_in_url(selects))
    pickers = pn.FlexBox(*selects, margin=0, gap="12px", sizing_mode="stretch_width")
    content = frame.Frame(
        "compare",
        {"pickers": pickers, **panels},
        body=remarks,
        after=damaged,
        two_columns=True,
    )
    return frame.page(content, str(store.folder))


def _keep_in_url(selects: Sequence[Any]) -> None:
    location = pn.state.location
    if location is None:
        return
    # What is shown goes first into the URL: a link may have asked for a run that is not there.
    location.update_query(**{slot: select.value for slot, select in zip(SLOTS, selects, strict=True)})
    for slot, select in zip(SLOTS, selects, strict=True):
        location.sync(select, {"value": slot})


def _asked(entries: Sequence[Entry], pair: tuple[str, str]) -> tuple[tuple[str, str], str]:
    """Returns the runs that the URL asks for, and a remark for each that is not to be had."""
    readable = {entry.name for entry in entries if entry.manifest}
    query = frame.query()
    chosen, remarks = [], ""
    for slot, name in zip(SLOTS, pair, strict=True):
        wanted = query.get(slot, name)
        if wanted not in readable:
            remarks += notice(
                f"The link asks for the run {wanted!r}, which cannot be read here; showing {name!r} instead."
            )
            wanted = name
        chosen.append(wanted)
    return (chosen[0], chosen[1]), remarks


def _select(slot: str, entries: Sequence[Entry], value: str) -> Any:
    groups = {
        source.capitalize(): {
            _option(entry): entry.name for entry in entries if entry.manifest and entry.manifest.source == source
        }
        for source in ("measured", "simulated")
    }
    label = {"reference": "Reference ● solid", "compared": "Compared with ○ dashed"}[slot]
    return pn.widgets.Select(
        name=label,
        groups={name: options for name, options in groups.items() if options},
        value=value,
        width=340,
        margin=0,
        stylesheets=[SELECT_CSS],
    )


def _option(entry: Entry) -> str:
    assert entry.manifest  # readable entries only
    return f"{entry.name} · {rate_words(entry.manifest.rate_eps)}"


def _contents(store: Store, reference: str, compared: str, look: Any) -> dict[str, list[Any]]:
    """Returns what each panel shows for two runs; where one cannot be read, its reason instead of the pictures."""
    try:
        digests = [store.digest(name) for name in dict.fromkeys((reference, compared))]
    except SentraError as error:
        return {"about": [frame.html(notice(str(error), bad=True))]} | {name: [_heading(name)] for name in HEADINGS}
    views = [_labelled(digest, digests) for digest in digests]
    pictures = {
        "tail": frame.plot(draw_tail(views, look=look)),
        "series": frame.plot(draw_series(views, look=look)),
        "hops": frame.plot(draw_hops(views, look=look)),
        "kpis": frame.html(_kpis_html(digests)),
    }
    return {"about": [frame.html(_about_html(digests))]} | {name: [_heading(name), pictures[name]] for name in HEADINGS}


def _labelled(digest: Digest, digests: Sequence[Digest]) -> RunView:
    """Calls a run by its source in legends, by its name where both are of one source."""
    clear = len({other.view.source for other in digests}) == len(digests)
    return digest.view if clear else replace(digest.view, label=digest.name)


def _heading(name: str) -> Any:
    title, hint = HEADINGS[name]
    return frame.html(f'<h2>{title}</h2><p class="hint">{hint}</p>')


def _about_html(digests: Sequence[Digest]) -> str:
    rows = []
    for digest in digests:
        manifest = digest.manifest
        validity = (
            badge("valid")
            if manifest.validity.valid
            else badge("invalid") + f" <small>{escape('; '.join(manifest.validity.reasons))}</small>"
        )
        made = f"seed {manifest.seed}"
        if manifest.twin:
            made += f' <small title="{escape(manifest.twin)}">twin {escape(manifest.twin[:8])}</small>'
        rows.append(
            (
                f'<span class="whole">{escape(digest.name)}</span> <small>{manifest.source}</small>',
                rate_words(manifest.rate_eps),
                f"{manifest.seconds:g}{NARROW}s <small>after {manifest.warmup_s:g}{NARROW}s</small>",
                f"{digest.view.events:,}",
                f'<span class="whole">{date_words(manifest.started_at)}</span>',
                made,
                validity,
            )
        )
    return table(
        ("run", "load", "window after warm-up", "events", "started", "made with", "validity"), rows, kind="words"
    )


def _kpis_html(digests: Sequence[Digest]) -> str:
    first, second = digests[0], digests[-1]
    others = {kpi.name: kpi for kpi in second.kpis}
    rows = [_kpi_cells(kpi, others.get(kpi.name)) for kpi in first.kpis]
    names = [
        escape(digest.name) if first.view.source == second.view.source else digest.view.source
        for digest in (first, second)
    ]
    return table(("KPI and SLO", *names, "deviation"), rows, kind="tight")


def _kpi_cells(kpi: Kpi, other: Kpi | None) -> tuple[str, ...]:
    known = kpi.value and other is not None and other.value is not None and not _may_be_zero(kpi)
    return (
        f"{escape(kpi_words(kpi.name))} <small>{escape(bound_words(kpi))}</small>",
        _value(kpi),
        _value(other) if other else "nodata",
        signed_percent(other.value / kpi.value - 1)
        if known and other and other.value is not None and kpi.value
        else "–",
    )


def _may_be_zero(kpi: Kpi) -> bool:
    """Tells whether a share of the value would say nothing, as its interval holds zero."""
    return kpi.low is not None and kpi.high is not None and kpi.low <= 0.0 <= kpi.high


def _value(kpi: Kpi) -> str:
    if kpi.verdict == SATURATED:
        return f"{sign(kpi.verdict)}saturated"
    return f"{sign(kpi.verdict)}{amount(kpi.value, kpi.unit)} <small>{interval(kpi.low, kpi.high, kpi.unit)}</small>"


def bound_words(kpi: Kpi) -> str:
    """Returns a KPI's bound in the unit that its value is shown in."""
    parts = kpi.bound.split()
    written = []
    for part in parts:
        try:
            written.append(amount(float(part), kpi.unit))
        except ValueError:
            written.append({"<=": "≤", ">=": "≥"}.get(part, part))
    return " ".join(written)


def _damaged_html(entries: Sequence[Entry]) -> str:
    damaged = [entry for entry in entries if entry.problem]
    if not damaged:
        return ""
    lines = "".join(f"<li><b>{escape(entry.name)}</b> – {escape(entry.problem or '')}</li>" for entry in damaged)
    noun = "folder" if len(damaged) == 1 else "folders"
    return f'<section class="panel damaged"><h2>{len(damaged)} {noun} cannot be read</h2><ul class="plain">{lines}</ul></section>'


def _empty_html(store: Store) -> str:
    steps = [(source, f"sentra {verb} {LOAD} -o {store.folder / name}") for source, verb, name in EMPTY_STEPS]
    lines = "".join(f"<li>a {source} run<br><code>{escape(command)}</code></li>" for source, command in steps)
    return (
        '<section class="panel empty"><h1>No runs to compare</h1>'
        f'<p class="hint">{escape(str(store.folder))} holds no readable run. <code>make demo</code> makes everything; by hand:</p>'
        f'<ol class="steps">{lines}</ol></section>'
    )

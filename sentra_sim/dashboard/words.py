"""Numbers and names as a page writes them; HTML of the parts that pages share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape

from sentra_sim.units import MS_PER_S

NARROW = "\u00a0"  # between a number and a short unit: a line must not break there
UNIT_SUFFIXES = ("_s", "_eps", "_events", "_cores")
BADGES = {
    "good": "good",
    "fair": "fair",
    "poor": "poor",
    "ok": "good",
    "breach": "poor",
    "saturated": "poor",
    "nodata": "none",
    "not offered": "none",
    "valid": "good",
    "invalid": "poor",
}


def kpi_words(name: str) -> str:
    """Returns a KPI's name as a person says it; the unit stands in the column of values.

    >>> kpi_words("e2e_p95_s"), kpi_words("lag_max_events"), kpi_words("cpu_us_per_event")
    ('end to end P95', 'lag max', 'CPU per event')
    """
    for suffix in UNIT_SUFFIXES:
        name = name.removesuffix(suffix)
    words = (
        name.replace("cpu_us_per_event", "cpu_per_event")
        .replace("e2e", "end to end")
        .replace("_", " ")
        .replace("/", " · ")
    )
    words = re.sub(r"\bp(\d+)\b", r"P\1", words)
    return re.sub(r"\bcpu\b", "CPU", words)


def amount(value: float | None, unit: str) -> str:
    """Returns a value with its unit, three significant digits; times in ms, shares in percent.

    >>> amount(50012.3, "events/s"), amount(None, "s"), amount(0.01234, "s").replace(NARROW, " ")
    ('50,012 events/s', 'nodata', '12.3 ms')
    """
    if value is None:
        return "nodata"
    if unit == "s":
        return f"{digits(value * MS_PER_S)}{NARROW}ms"
    if unit == "fraction":
        return f"{value * 100:.4g}{NARROW}%"
    return f"{digits(value)} {unit}".strip()


def digits(value: float) -> str:
    """Returns three significant digits without an exponent, with thousands set apart.

    >>> digits(0.01234), digits(7.0), digits(1234.5), digits(0.0)
    ('0.0123', '7.00', '1,234', '0')
    """
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    places = 0 if size >= 100 else 1 if size >= 10 else 2
    return f"{value:.{places}f}" if size >= 1 else f"{value:.3g}"


def interval(low: float | None, high: float | None, unit: str) -> str:
    """Returns an interval as `[low, high]` in the unit that `amount` shows, empty where it is unknown."""
    if low is None or high is None:
        return ""
    factor = {"s": MS_PER_S, "fraction": 100.0}.get(unit, 1.0)
    return f"[{digits(low * factor)}, {digits(high * factor)}]"


def signed_percent(fraction: float | None) -> str:
    """Returns a signed share in percent; what rounds to nothing has no sign.

    >>> [signed_percent(share).replace(NARROW, " ") for share in (-0.034, 0.5, -0.0001, None)]
    ['−3.4 %', '+50.0 %', '0.0 %', 'nodata']
    """
    if fraction is None:
        return "nodata"
    percent = round(fraction * 100, 1)
    return (f"{percent:+.1f}".replace("-", "−") if percent else "0.0") + f"{NARROW}%"


def rate_words(rate_eps: float) -> str:
    """Returns a load as a person says it.

    >>> rate_words(50_000.0)
    '50,000 events/s'
    """
    return f"{rate_eps:,.0f} events/s"


def date_words(started_at: str) -> str:
    """Returns an ISO 8601 time to the minute.

    >>> date_words("2026-03-01T10:00:07+00:00")
    '2026-03-01 10:00 UTC'
    """
    return f"{started_at[:16].replace('T', ' ')} UTC"


def badge(word: str) -> str:
    """Returns a verdict as text with a sign before it; the colour only repeats what both say."""
    return f'<span class="badge {BADGES.get(word, "none")}">{escape(word)}</span>' if word != "-" else ""


def sign(verdict: str) -> str:
    """Returns a verdict as its sign alone, the word for screen readers and on hover; nothing where there is no bound."""
    if verdict == "-":
        return ""
    return f'<span class="badge {BADGES.get(verdict, "none")}" role="img" aria-label="{escape(verdict)}" title="{escape(verdict)}"></span> '


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], *, caption: str = "", kind: str = "") -> str:
    """Returns an HTML table of a name and numbers; cells are HTML already.

    `kind` is a class of parts.css: `words` has words in its last column, `tight` must do with half a page.
    """
    head = "".join(f'<th scope="col">{header}</th>' for header in headers)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    title = f"<caption>{caption}</caption>" if caption else ""
    return f'<div class="scroll"><table class="{kind}">{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Returns a list of named facts; values are HTML already."""
    return f'<dl class="facts">{"".join(f"<dt>{escape(name)}</dt><dd>{value}</dd>" for name, value in pairs)}</dl>'


def notice(text: str, *, bad: bool = False) -> str:
    """Returns a line that stands out."""
    return f'<p class="notice{" bad" if bad else ""}" role="status">{escape(text)}</p>'

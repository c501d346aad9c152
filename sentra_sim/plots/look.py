"""How plots look: one palette that survives colour blindness and grey print, in a light and a dark version."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import holoviews as hv

Dash = Literal["solid", "dashed", "dotted"]


@dataclass(frozen=True)
class Ink:
    """How one run is drawn: colour, dash and fill differ together, so that none of them carries the meaning alone."""

    colour: str
    dash: Dash
    filled: bool


@dataclass(frozen=True)
class Look:
    """Colours of a plot. `inks` are handed out to runs in order; hues follow Okabe and Ito (2008)."""

    text: str
    faint: str
    grid: str
    ground: str
    limit: str
    band: str
    inks: tuple[Ink, ...]


LIGHT = Look(
    text="#1f2933",
    faint="#616e7c",
    grid="#e4e7eb",
    ground="#ffffff",
    limit="#52606d",
    band="#dfe3e8",
    inks=(Ink("#0072b2", "solid", True), Ink("#d55e00", "dashed", False)),
)
DARK = Look(
    text="#e4e7eb",
    faint="#9aa5b1",
    grid="#2b333c",
    ground="#171c21",
    limit="#9aa5b1",
    band="#2f3842",
    inks=(Ink("#56b4e9", "solid", True), Ink("#e69f00", "dashed", False)),
)

MARKERS = {"p50": "circle", "p95": "square", "p99": "triangle"}
FONT = "system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', sans-serif"

TOOLS = ("box_zoom", "reset", "save")
Ticks = list[tuple[float, str]]


def log_ticks(low: float, high: float) -> Ticks:
    """Returns ticks at 1, 2 and 5 times the powers of ten within [low, high], written as plain numbers.

    >>> log_ticks(0.9, 6)
    [(1.0, '1'), (2.0, '2'), (5.0, '5')]
    """
    steps = [step * 10.0**power for power in range(-6, 8) for step in (1, 2, 5)]
    inside = [step for step in steps if low <= step <= high]
    if len(inside) > 9:
        inside = [step for step in inside if f"{step:e}".startswith("1")]
    return [(step, f"{step:g}") for step in inside]


def shape_key(look: Look, dims: tuple[str, str]) -> list[Any]:
    """Returns invisible points that put the quantiles' shapes into a legend, in no run's colour."""
    nowhere = ([float("nan")], [float("nan")])
    return [
        hv.Scatter(nowhere, *dims, label=name.upper()).opts(color=look.faint, marker=marker, size=8, backend="bokeh")
        for name, marker in MARKERS.items()
    ]


def dress(look: Look) -> Callable[[Any, Any], None]:
    """Returns a HoloViews hook that gives a Bokeh figure the look's colours and a quiet toolbar."""

    def hook(plot: Any, _element: Any) -> None:
        figure = plot.state
        figure.background_fill_color = look.ground
        figure.border_fill_color = look.ground
        figure.outline_line_color = None
        figure.toolbar_inner = True  # over the frame's corner, shown on hover: no room is kept for it
        figure.toolbar.autohide = True
        figure.toolbar.logo = None
        figure.xgrid.grid_line_color = look.grid
        figure.ygrid.grid_line_color = look.grid
        for axis in figure.axis:
            _dress_axis(axis, look)
        for legend in figure.legend:
            legend.label_text_color = look.text
            legend.label_text_font = FONT
            legend.label_text_font_size = "12px"
            legend.background_fill_color = look.ground
            legend.background_fill_alpha = 0.85
            legend.border_line_color = None
            legend.inactive_fill_color = look.ground
            legend.spacing = 6
            legend.padding = 2
            legend.margin = 4

    return hook


def _dress_axis(axis: Any, look: Look) -> None:
    axis.axis_line_color = look.grid
    axis.major_tick_line_color = look.grid
    axis.minor_tick_line_color = None
    axis.major_label_text_color = look.faint
    axis.major_label_text_font = FONT
    axis.major_label_text_font_size = "12px"
    axis.axis_label_text_color = look.faint
    axis.axis_label_text_font = FONT
    axis.axis_label_text_font_size = "12px"
    axis.axis_label_text_font_style = "normal"

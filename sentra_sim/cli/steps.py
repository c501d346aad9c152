"""Stepped loads on the command line: how they are written, and their KPIs step by step."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.table import Table

from sentra_sim.cli.tables import side_by_side
from sentra_sim.errors import InputError

if TYPE_CHECKING:
    from sentra_sim.kpi import StepKpis
    from sentra_sim.records import Run
    from sentra_sim.scenario import Scenario

WINDOW_S = 60.0
MOST_EVENTS = 1e10


def parse_steps(text: str | None) -> tuple[tuple[float, float], ...] | None:
    """Reads `25000x60,50000x60` as rates in events/s and lengths in seconds; None stays None.

    Raises:
        InputError: it is written in another way.
    """
    if text is None:
        return None
    try:
        return tuple(_pair(step) for step in text.split(","))
    except ValueError:
        raise InputError(
            f"--steps: must be RATExSECONDS, separated by commas, got {text!r}; write for example 25000x60,50000x60"
        ) from None


def window_s(options: Namespace, scenario: Scenario) -> float:
    """Returns the length of the window: as asked for, else what the steps leave after the warm-up, else a minute.

    Raises:
        InputError: the steps end within the warm-up, or the load has more events than any machine has room for.
    """
    seconds = _window_s(options, scenario)
    events = scenario.load.rate_eps * (seconds + float(options.warmup))
    if not events <= MOST_EVENTS:
        raise InputError(
            f"{options.scenario.name}: load: must offer at most {MOST_EVENTS:,.0f} events, got {events:,.0f}; "
            "lower the rate, or shorten --seconds"
        )
    return seconds


def _window_s(options: Namespace, scenario: Scenario) -> float:
    if options.seconds is not None:
        return float(options.seconds)
    if not scenario.load.steps:
        return WINDOW_S
    left_s = scenario.load.steps_s - float(options.warmup)
    if left_s <= 0.0:
        raise InputError(
            f"--warmup: must be shorter than the steps' {scenario.load.steps_s:g} s, got {options.warmup:g}; "
            "it is a part of them, write a shorter one"
        )
    return left_s


def steps_data(found: Sequence[StepKpis]) -> dict[str, Any]:
    """Returns the steps for JSON; nothing without any."""
    return {"steps": [asdict(step) for step in found]} if found else {}


def steps_table(run: Run, found: Sequence[StepKpis]) -> Table:
    """Returns a row per KPI and a column per step, each value with its verdict."""
    heads = [f"{step.rate_eps:,.0f}/s {step.start_s:g}–{step.end_s:g} s" for step in found]
    return side_by_side(f"{run.name}: step by step", heads, [step.kpis for step in found])


def _pair(text: str) -> tuple[float, float]:
    rate, seconds = text.lower().split("x")
    return float(rate), float(seconds)

"""Progress of long work, on standard error, so that standard output stays the result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

Report = Callable[[str], None]


@contextmanager
def working(what: str, *, quiet: bool) -> Iterator[Report]:
    """Shows a spinner with the step that is under way."""
    err = Console(stderr=True)
    if quiet or not err.is_terminal:
        yield (lambda _: None) if quiet else (lambda text: print_step(f"{what}: {text}"))
        return
    with Progress(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=err, transient=True
    ) as bar:
        task = bar.add_task(what)
        yield lambda text: bar.update(task, description=f"{what}: {text}")


@contextmanager
def measuring(total_s: float, *, quiet: bool) -> Iterator[Callable[[Any], None]]:
    """Shows a bar of the load's seconds, with the phase and what the live pipeline says of itself."""
    err = Console(stderr=True)
    if quiet or not err.is_terminal:
        yield lambda _: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f} s"))
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("starting", total=total_s)

        def report(at: Any) -> None:
            flow = f" · {at.delivered_eps:,.0f} events/s delivered, {at.lag_events:,} behind" if at.acked_events else ""
            bar.update(task, description=f"{at.phase}{flow}", completed=min(max(at.elapsed_s, 0.0), total_s))

        yield report


def print_step(text: str) -> None:
    """Prints one step for a log."""
    Console(stderr=True, highlight=False).print(text, markup=False)

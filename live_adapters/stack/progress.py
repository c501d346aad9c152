"""What a person sees while the stack comes up: one line per step, and a bar for the first download.

Example:
    >>> from live_adapters import stack
    >>> from live_adapters.stack.progress import console_progress
    >>> with console_progress() as shown:  # doctest: +SKIP
    ...     stack.up(shown.report, shown.download)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from live_adapters.stack._jars import EXPECTED_BYTES, EXPECTED_JARS


class ConsoleProgress:
    """The two hooks of `stack.up`, drawn on one terminal."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None

    def report(self, line: str) -> None:
        """Prints a step above the bar."""
        self._progress.console.print(line, markup=False, highlight=False)

    def download(self, file: str, jars: int, size: int) -> None:
        """Moves the bar."""
        if self._task is None:
            self._task = self._progress.add_task("kafka jars", total=EXPECTED_BYTES, jars=0)
        self._progress.update(self._task, completed=size, total=max(EXPECTED_BYTES, size), jars=jars)


@contextmanager
def console_progress(console: Console | None = None) -> Iterator[ConsoleProgress]:
    """Yields the hooks for `stack.up`; without a terminal, the lines alone are printed."""
    columns = (
        TextColumn("{task.description} {task.fields[jars]}/" + str(EXPECTED_JARS)),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    shown = console or Console()
    with Progress(*columns, console=shown, transient=True, disable=not shown.is_terminal) as progress:
        yield ConsoleProgress(progress)

"""The commands' way to the live side, which is not installed everywhere."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from sentra_sim.errors import StackError


def load(part: str) -> Any:
    """Returns a module of the live side, as `stack` or `verify.judge`.

    Raises:
        StackError: its packages are not installed.
    """
    try:
        return import_module(f"live_adapters.{part}")
    except ImportError as error:
        raise StackError(f"{part}: needs {error.name}, got none; pip install 'sentra-lab[live]'") from None


def start_stack(*, quiet: bool, proxied: bool = False) -> None:
    """Starts the stack, or finds it running; shows the download on standard error.

    Raises:
        StackError: a part is missing or did not start.
    """
    stack = load("stack")
    if quiet:
        stack.up(proxied=proxied)
        return
    from rich.console import Console

    from live_adapters.stack.progress import console_progress

    with console_progress(Console(stderr=True)) as shown:
        stack.up(shown.report, shown.download, proxied=proxied)

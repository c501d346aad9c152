"""The commands' way to the live side, which is not installed everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sentra_sim.errors import StackError


def load_stack() -> Any:
    """Returns the module of the local stack.

    Raises:
        StackError: its packages are not installed.
    """
    with _installed("stack"):
        from live_adapters import stack
    return stack


def load_measure() -> Any:
    """Returns the function that records a real run.

    Raises:
        StackError: its packages are not installed.
    """
    with _installed("measure"):
        from live_adapters.measure import measure
    return measure


def load_chaos() -> Any:
    """Returns the package of real faults.

    Raises:
        StackError: its packages are not installed.
    """
    with _installed("chaos"):
        from live_adapters import chaos
    return chaos


def load_run_options() -> Any:
    """Returns the module that reads what a user gives a measured run.

    Raises:
        StackError: its packages are not installed.
    """
    with _installed("measure"):
        from live_adapters import runoptions
    return runoptions


def load_notifier() -> Any:
    """Returns the module that posts notices to a webhook.

    Raises:
        StackError: its packages are not installed.
    """
    with _installed("notifier"):
        from live_adapters import notifier
    return notifier


def load_judge() -> Any:
    """Returns the functions that judge a run's evidence, and that read it.

    Raises:
        StackError: their packages are not installed.
    """
    with _installed("verify"):
        from live_adapters.verify.evidence import load_evidence
        from live_adapters.verify.judge import judge_evidence
    return judge_evidence, load_evidence


def start_stack(*, quiet: bool, proxied: bool = False) -> None:
    """Starts the stack, or finds it running; shows the download on standard error.

    Raises:
        StackError: a part is missing or did not start.
    """
    stack = load_stack()
    if quiet:
        stack.up(proxied=proxied)
        return
    from rich.console import Console

    from live_adapters.stack.progress import console_progress

    with console_progress(Console(stderr=True)) as shown:
        stack.up(shown.report, shown.download, proxied=proxied)


@contextmanager
def _installed(part: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise StackError(f"{part}: needs {error.name}, got none; pip install 'sentra-lab[live]'") from None

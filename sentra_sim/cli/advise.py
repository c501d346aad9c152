"""Warnings of the command line: what is allowed and hardly meant goes to standard error, a line each, before the run begins."""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sentra_sim.scenario import Scenario


def advise(options: Namespace, scenario: Scenario) -> list[str]:
    """Prints what to think over in a scenario; returns the lines."""
    from sentra_sim.scenario.advice import advice

    return warn([f"{options.scenario.name}: {line}" for line in advice(scenario)])


def warn(lines: list[str]) -> list[str]:
    """Prints warnings; returns them."""
    for line in lines:
        print(f"sentra: warning: {line}", file=sys.stderr)
    return lines

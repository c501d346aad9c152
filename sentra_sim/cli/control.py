"""The controllers of a run from the command line: the same file for a simulated run and for a live one."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sentra_sim.control.file import Control
    from sentra_sim.control.plant import Plant
    from sentra_sim.engine import Plan, Simulation
    from sentra_sim.scenario import Scenario


@dataclass(frozen=True)
class Controlled:
    """A run's controllers, and the file that their journal goes to."""

    control: Control
    file: Path

    def check(self, scenario: Scenario, seconds: float) -> list[str]:
        """Refuses what a simulation of so many seconds has not; prints and returns what to think over."""
        from sentra_sim.cli.advise import warn
        from sentra_sim.control.checks import check_control

        return warn(check_control(self.control, scenario, seconds=seconds))

    def simulated(self, simulation: Simulation, plan: Plan) -> None:
        """Lets them act on a simulation until its load ends."""
        from sentra_sim.control.loop import drive_simulated

        controllers = self.control.of_simulation(plan.scenario)
        drive_simulated(simulation, plan, controllers, defects=self.control.defects).write(self.file)

    def live(self, plant: Plant, elapsed_s: float, until_s: float, keep: Callable[[], bool]) -> None:
        """Lets them act on a live plant until its load ends."""
        from sentra_sim.control.journal import Journal
        from sentra_sim.control.loop import drive_real

        journal = Journal()
        controllers = self.control.controllers
        drive_real(plant, controllers, elapsed_s=elapsed_s, until_s=until_s, journal=journal, keep=keep)
        journal.write(self.file)


@contextmanager
def controlled(file: Path | None, *, live_as: Scenario | None = None) -> Iterator[Controlled | None]:
    """Reads a control file; None stands for a run without. `live_as`: it is to act on a live plant of this scenario.

    Raises:
        InputError: it cannot be read, breaks a rule, or asks for what a live plant does not do.
    """
    if file is None:
        yield None
        return
    from sentra_sim.control.file import load_control
    from sentra_sim.control.journal import JOURNAL

    control = load_control(file)
    if live_as is not None:
        from sentra_sim.control.checks import check_live

        check_live(control, live_as)
    with tempfile.TemporaryDirectory() as folder:
        yield Controlled(control, Path(folder) / JOURNAL)

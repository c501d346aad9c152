"""Rolling restarts of a simulated plant: a timetable played by whoever an orchestrator is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, NonNegativeFloat, PositiveInt

from sentra_sim.control.document import Block
from sentra_sim.control.loop import Desk, Process
from sentra_sim.control.plant import Action, Kill, Start, Stop
from sentra_sim.engine import Change
from sentra_sim.engine.deploys import rolling_restart
from sentra_sim.scenario import Scenario

ACTIONS: dict[str, type[Stop | Kill | Start]] = {"stop": Stop, "kill": Kill, "start": Start}


class Deploy(Block):
    """A rolling restart of the consumer group, or of stations with `recovery`, one after another.

    `drain_s` (terminationGracePeriodSeconds, 30 s) is how long each process has to end in order, `max_unavailable` (of a
    PodDisruptionBudget) how many may be down at a time; the next ones follow `settle_s` (minReadySeconds) after the last are ready.
    """

    at_s: NonNegativeFloat
    of: Annotated[tuple[str, ...], Field(min_length=1)]
    drain_s: NonNegativeFloat = 30.0
    max_unavailable: PositiveInt = 1
    settle_s: NonNegativeFloat = 0.0

    def changes(self, scenario: Scenario) -> list[Change]:
        """Returns the timetable.

        Raises:
            InputError: the scenario has not what it is of.
        """
        return rolling_restart(
            scenario,
            of=self.of,
            at_s=self.at_s,
            drain_s=self.drain_s,
            max_unavailable=self.max_unavailable,
            settle_s=self.settle_s,
        )


class Deployer:
    """Plays deploys."""

    name = "deploys"

    def __init__(self, deploys: Sequence[Deploy], scenario: Scenario) -> None:
        changes = [change for deploy in deploys for change in deploy.changes(scenario)]
        self.changes = sorted(changes, key=lambda change: change.at_s)

    def run(self, desk: Desk) -> Process:
        """Lets processes end and starts others, each at its time."""
        for change in self.changes:
            yield desk.wait(change.at_s - desk.now_s)
            action: Action = ACTIONS[change.operation](change.subject)
            desk.apply(action)

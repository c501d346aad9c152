"""A control file: which controllers act on a run, of either plant."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, model_validator

from sentra_sim.control.autoscaler import make_autoscaler
from sentra_sim.control.deploys import Deploy, Deployer
from sentra_sim.control.document import Block, parse, read_document
from sentra_sim.control.faults import Fault, FaultInjector, FaultPlan
from sentra_sim.control.loop import Controller
from sentra_sim.control.rollout import RolloutController, RolloutPolicy
from sentra_sim.control.scaledobject import HorizontalPodAutoscaler, ScaledObject, read_scaled_object
from sentra_sim.scenario import Scenario


class Defect(Block):
    """How a release differs in a simulation: it takes `factor` times the demand of a station."""

    station: str
    factor: NonNegativeFloat


class ControlFile(Block):
    """`rollout`, `faults`: a policy and a plan. `autoscaler`: a ScaledObject's or a HorizontalPodAutoscaler's file beside this one,
    or several, one a target.

    `deploys`: rolling restarts, of a simulated plant only. `defects`: the releases that a simulation plays, by name; a live plant
    has real ones of these names.
    """

    schema_version: Literal[1] = 1
    rollout: RolloutPolicy | None = None
    autoscaler: Annotated[str, Field(min_length=1)] | Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    faults: FaultPlan | None = None
    deploys: tuple[Deploy, ...] = ()
    defects: dict[str, Defect] = Field(default={})

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.rollout is None and self.autoscaler is None and self.faults is None and not self.deploys:
            raise ValueError("must hold rollout, autoscaler, faults or deploys")
        return self

    @property
    def autoscalers(self) -> tuple[str, ...]:
        """The names of the autoscalers' files."""
        return (self.autoscaler,) if isinstance(self.autoscaler, str) else self.autoscaler or ()

    def named_faults(self) -> list[tuple[str, Fault]]:
        """Returns every fault of the plan with its place in the file."""
        if self.faults is None:
            return []
        drawn = self.faults.random.choose if self.faults.random else ()
        timed = [(f"faults.timetable.{number}", fault) for number, fault in enumerate(self.faults.timetable)]
        return [*timed, *((f"faults.random.choose.{number}", fault) for number, fault in enumerate(drawn))]


@dataclass(frozen=True)
class Control:
    """The controllers of a file that either plant knows, ready to run once; `defects` as a simulated plant takes them.

    `place`: the file's name, for messages. `file`, `rules`: what is in it, and in the autoscalers' files that it names, by their names.
    `most_workers`: up to how many workers one of them may want, 0 where none changes their number.
    """

    controllers: tuple[Controller, ...]
    defects: dict[str, tuple[str, float]]
    place: str
    file: ControlFile
    rules: dict[str, ScaledObject | HorizontalPodAutoscaler]
    most_workers: int = 0

    def of_simulation(self, scenario: Scenario) -> tuple[Controller, ...]:
        """Returns all who act on a simulation of a scenario, its deploys among them."""
        return (*self.controllers, *((Deployer(self.file.deploys, scenario),) if self.file.deploys else ()))


def load_control(file: str | Path) -> Control:
    """Reads a control file and the file that it names.

    Raises:
        InputError: one of them cannot be read, or the first broken rule, in one line.
    """
    file = Path(file)
    read = parse(ControlFile, read_document(file, "a control file (docs/control.md)"), file.name)
    controllers: list[Controller] = []
    rules, most_workers = {name: read_scaled_object(file.parent / name) for name in read.autoscalers}, 0
    if read.faults is not None:
        controllers.append(FaultInjector(read.faults))
        most_workers = read.faults.most_workers
    for rule in rules.values():
        controllers.append(make_autoscaler(rule))
        most_workers = max(most_workers, rule.spec.most)
    if read.rollout is not None:
        controllers.append(RolloutController(read.rollout))
    defects = {name: (defect.station, defect.factor) for name, defect in read.defects.items()}
    return Control(tuple(controllers), defects, file.name, read, rules, most_workers)

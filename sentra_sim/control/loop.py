"""Runs controllers against a plant: in simulated time as fast as it goes, or in real time; the controllers cannot tell."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict
from typing import Any, Protocol

import simpy
import simpy.rt

from sentra_sim.control.journal import Journal
from sentra_sim.control.plant import Action, Plant
from sentra_sim.control.simulated import SimulatedPlant
from sentra_sim.engine import Plan, Simulation
from sentra_sim.errors import SentraError

Process = Generator[simpy.Event, Any, None]
SLEEP_S = 0.2  # the real plant's keeper looks so often whether the load goes on


class Controller(Protocol):
    """Whoever decides something slowly: a SimPy process."""

    @property
    def name(self) -> str:
        """Who signs the journal's entries."""
        ...

    def run(self, desk: Desk) -> Process:
        """Looks, decides, acts and waits; ends when it has nothing more to do."""
        ...


class Desk:
    """What a controller works with: the clock, the plant, and the journal, which gets a line of all that is done here."""

    def __init__(self, env: simpy.Environment, plant: Plant, journal: Journal, who: str) -> None:
        self._env, self._plant, self._journal, self._who = env, plant, journal, who

    @property
    def now_s(self) -> float:
        """Seconds since the load began."""
        return float(self._env.now)

    def wait(self, seconds: float) -> simpy.Event:
        """Returns what to yield to wait."""
        return self._env.timeout(max(0.0, seconds))

    def metrics(self, window_s: float) -> dict[str, float]:
        """Looks at the plant."""
        seen = self._plant.metrics(window_s)
        self._journal.add(self.now_s, self._who, "saw", "", {"window_s": window_s, **seen})
        return seen

    def apply(self, action: Action) -> None:
        """Acts on the plant.

        Raises:
            PlantError, InputError: it cannot be done.
        """
        deed = {"action": type(action).__name__, **asdict(action)}
        try:
            self._plant.apply(action)
        except SentraError as error:
            self._journal.add(self.now_s, self._who, "failed", str(error), deed)
            raise
        self._journal.add(self.now_s, self._who, "did", "", deed)

    def decided(self, text: str, **why: Any) -> None:
        """Notes a decision and what it rests on."""
        self._journal.add(self.now_s, self._who, "decided", text, why)


def drive(
    env: simpy.Environment,
    plant: Plant,
    controllers: Sequence[Controller],
    *,
    until_s: float,
    journal: Journal,
    stop_when_done: bool = False,
) -> None:
    """Lets controllers act on a plant until a time, or, if asked, until all of them have ended.

    Raises:
        PlantError: the plant could not do what one of them wanted.
    """
    running = [env.process(one.run(Desk(env, plant, journal, one.name))) for one in controllers]
    end = env.timeout(until_s - env.now)
    env.run(until=env.any_of([end, env.all_of(running)]) if stop_when_done and running else end)


def drive_simulated(
    simulation: Simulation,
    plan: Plan,
    controllers: Sequence[Controller],
    *,
    defects: dict[str, tuple[str, float]] | None = None,
    stop_when_done: bool = False,
) -> Journal:
    """Lets controllers act on a simulation for as long as its load lasts; the simulation can be played on to its end then."""
    env, journal = simpy.Environment(), Journal()
    plant = SimulatedPlant(simulation, plan, lambda: float(env.now), defects=defects)
    drive(env, plant, controllers, until_s=plan.seconds, journal=journal, stop_when_done=stop_when_done)
    return journal


def drive_real(
    plant: Plant,
    controllers: Sequence[Controller],
    *,
    elapsed_s: float,
    until_s: float,
    journal: Journal,
    keep: Callable[[], bool],
) -> None:
    """Lets controllers act on a live plant.

    Args:
        plant: the pipeline under its load.
        controllers: who acts.
        elapsed_s: how long the load has lasted already.
        until_s: how long it lasts at most.
        journal: gets what they see and do.
        keep: called several times a second to look after the pipeline's processes; tells whether the load goes on.

    Raises:
        PlantError: a process died, or the plant could not do what a controller wanted.
    """
    # A look or an action takes its time; the clock then runs on without catching up being an error.
    env = simpy.rt.RealtimeEnvironment(initial_time=elapsed_s, factor=1.0, strict=False)

    def keeper() -> Process:
        while keep():
            yield env.timeout(SLEEP_S)

    for one in controllers:
        env.process(one.run(Desk(env, plant, journal, one.name)))
    env.run(until=env.any_of([env.process(keeper()), env.timeout(max(0.0, until_s - elapsed_s))]))

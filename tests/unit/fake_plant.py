"""A plant made by hand for tests of controllers: it shows what a test tells it to, and remembers what was done."""

from collections.abc import Callable

import simpy

from sentra_sim.control.journal import Journal
from sentra_sim.control.loop import Controller, drive
from sentra_sim.control.plant import Action, SetWorkers
from sentra_sim.errors import PlantError


class FakePlant:
    """Shows `shown(now)`, with the workers as they were last set."""

    def __init__(self, env: simpy.Environment, shown: Callable[[float], dict[str, float]], workers: int = 1) -> None:
        self.env, self.shown, self.workers = env, shown, workers
        self.done: list[tuple[float, Action]] = []
        self.broken = False

    def metrics(self, window_s: float) -> dict[str, float]:
        return {"workers": float(self.workers)} | self.shown(self.env.now)

    def apply(self, action: Action) -> None:
        if self.broken:
            raise PlantError("plant: must work, got a broken one; mend it")
        self.done.append((self.env.now, action))
        if isinstance(action, SetWorkers):
            self.workers = action.count


def play(
    controller: Controller, shown: Callable[[float], dict[str, float]], until_s: float, workers: int = 1
) -> tuple[FakePlant, Journal]:
    env, journal = simpy.Environment(), Journal()
    plant = FakePlant(env, shown, workers)
    drive(env, plant, [controller], until_s=until_s, journal=journal)
    return plant, journal

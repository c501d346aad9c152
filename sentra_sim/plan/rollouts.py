"""One simulated rollout: a release of the population against a policy, from its first weight to its end."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, dataclass
from typing import Any

from sentra_sim.control.loop import drive_simulated
from sentra_sim.control.rollout import RolloutController, RolloutPolicy
from sentra_sim.engine import prepare, start
from sentra_sim.plan.population import Population, draw_release
from sentra_sim.scenario import parse_scenario

Row = dict[str, Any]


@dataclass(frozen=True)
class RolloutTask:
    """What all rollouts of a sweep share; plain data, so that it can go to another process or machine.

    `scenario`, `policy`: as their files hold them. `seconds`: length of the load, in which a rollout must end.
    """

    scenario: dict[str, Any]
    policy: dict[str, Any]
    population: Population
    seconds: float = 600.0

    def digest(self) -> str:
        """Identifies the task, so that rows of different ones are never mixed."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


def play_rollout(task: RolloutTask, seed: int) -> Row:
    """Plays one rollout and returns its row: seed, the release, the outcome with its times, s, and the CPU that it took, `cpu_s`.

    The load lasts its whole time, also where the release was rolled back early: what came of it is part of the rollout.
    """
    cpu_s = time.thread_time()
    scenario = parse_scenario(task.scenario)
    controller = RolloutController(RolloutPolicy.model_validate(task.policy))
    release = draw_release(task.population, seed)
    plan = prepare(scenario, seconds=task.seconds, seed=seed)
    simulation = start(plan)
    defects = {controller.policy.canary: (release.station, release.factor)}
    drive_simulated(simulation, plan, [controller], defects=defects)
    simulation.advance(task.seconds)
    result = controller.result
    return {
        "seed": seed,
        "factor": release.factor,
        "bad": release.bad,
        **asdict(result),
        "rollback_s": result.rollback_s,
        "frames": simulation.view().frames,
        "cpu_s": time.thread_time() - cpu_s,
    }


def play_chunk(task: RolloutTask, seeds: tuple[int, ...]) -> list[Row]:
    """Plays several rollouts one after another."""
    return [play_rollout(task, seed) for seed in seeds]

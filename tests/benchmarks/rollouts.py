"""Ten thousand simulated ten-minute canary rollouts: `python tests/benchmarks/rollouts.py OUT.jsonl [--count N] [--scheduler ADDRESS]`.

Sentra's scenario at 100 frames a second; three releases in ten are bad. Rows go to the file as they come: killed and started again, it
goes on. At the end it says how long it took and what the policy did.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

from sentra_sim.cli.rollout import counting, print_summary
from sentra_sim.cli.tables import console
from sentra_sim.control.rollout import BoundGate, RolloutPolicy, Step
from sentra_sim.plan.population import Population
from sentra_sim.plan.rollouts import RolloutTask
from sentra_sim.plan.summary import summarize
from sentra_sim.plan.sweep import sweep
from sentra_sim.scenario import load_scenario, scenario_data

SCENARIO = Path(__file__).parents[2] / "data" / "scenarios" / "sentra.yaml"
POLICY = RolloutPolicy(
    canary="next",
    steps=(Step(weight=0.1, hold_s=150.0), Step(weight=0.5, hold_s=150.0)),
    gates=(BoundGate(metric="e2e_p95_s", max=0.12),),
    start_s=60.0,
)


def scenario() -> dict[str, Any]:
    """Sentra's pipeline with 1,000 events/s in about 100 frames/s, of which pricing takes most of a core's time."""
    data = scenario_data(load_scenario(SCENARIO))
    data["load"] |= {"rate_eps": 1000.0, "arrivals": "poisson", "tick_s": 0.01}
    data["stations"]["gateway"] |= {"linger_s": 0.06, "max_events": 10}
    data["stations"]["pricing"]["demand"] = {
        "job_s": 1e-3,
        "event_s": 200e-6,
        "noise": {"dist": "lognormal", "cv": 1.0},
    }
    return data


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--scheduler")
    options = parser.parse_args()
    task = RolloutTask(scenario(), POLICY.model_dump(), Population("pricing"))
    started, fresh = time.monotonic(), list[int]()
    with counting("rollouts", quiet=False) as show:

        def progress(done: int, total: int) -> None:
            fresh.append(done)
            show(done, total)

        rows = sweep(
            task,
            range(options.count),
            options.out,
            workers=options.workers,
            scheduler=options.scheduler,
            progress=progress,
        )
    took_s, played = time.monotonic() - started, fresh[-1] - fresh[0]
    frames = np.mean([row["frames"] for row in rows]) / task.seconds
    out = console()
    out.print(f"{played:,} rollouts of {task.seconds:.0f} s at {frames:.0f} frames/s in {took_s:.0f} s")
    if played:
        out.print(f"{took_s / played:.3f} s each; ten thousand: {took_s / played * 1e4 / 60:.1f} min (goal 30)")
    print_summary(summarize(rows, start_s=POLICY.start_s), as_json=False)


if __name__ == "__main__":
    main()

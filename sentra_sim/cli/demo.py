"""The main job: a twin of a real pipeline, and how well it predicts a load that it was never shown."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sentra_sim.cli import commands
from sentra_sim.cli.progress import measuring, print_step, working

if TYPE_CHECKING:
    from sentra_sim.records import Run
    from sentra_sim.scenario import Scenario

TRAINED_EPS = (20_000.0, 35_000.0, 65_000.0)
HELD_OUT_EPS = 50_000.0
REPEATS = 2
SECONDS = 20.0
WARMUP_S = 4.0
# A cold JVM costs two to three times as much; its compiler needs about a minute of load.
FIRST_WARMUP_S = 60.0
SEED = 1


@dataclass(frozen=True)
class Load:
    """One measurement of the demo."""

    rate_eps: float
    repeat: int

    @property
    def folder(self) -> str:
        """Name of the run folder."""
        return f"measured-{self.rate_eps:.0f}-{self.repeat}"


def run_demo(folder: Path, *, no_serve: bool) -> int:
    """Measures what is missing, calibrates, validates, prints the table and serves the dashboard.

    Returns 0, or 1 with a line for each SLO that a measurement at the promised load or above misses.
    """
    from sentra_sim.cli.tables import print_validation
    from sentra_sim.twin import save_validation
    from sentra_sim.twin import validate as compare

    scenario = _scenario()
    runs = _measure_missing(scenario, folder)
    training = [run for load, run in runs.items() if load.rate_eps != HELD_OUT_EPS]
    twin_path = folder / "twin.yaml"
    _calibrate(training, twin_path)
    with working("validating", quiet=False) as report:
        found = compare(twin_path, list(runs.values()), progress=report)
    save_validation(found, folder / "validation.json")
    _simulate_loads(scenario, folder, twin_path)
    print_validation(found, as_json=False, hops=False)
    missed = _report_misses(list(runs.values()))
    if no_serve or os.environ.get("SERVE") == "0":
        print(f"look: sentra dashboard {folder}")
    else:
        _serve(folder)
    return 1 if missed else 0


def _scenario() -> Scenario:
    from sentra_sim.scenario import load_scenario

    return load_scenario(Path("data/scenarios/sentra.yaml"))


def _measure_missing(scenario: Scenario, folder: Path) -> dict[Load, Run]:
    from sentra_sim.records import is_run, read_run

    loads = [Load(rate, repeat + 1) for rate in (*TRAINED_EPS, HELD_OUT_EPS) for repeat in range(REPEATS)]
    missing = [load for load in loads if not is_run(folder / load.folder) or not _is_current(scenario, load, folder)]
    # Shuffled, so that the host's drift over the minutes does not look like an effect of the load.
    random.Random(SEED).shuffle(missing)
    if missing:
        print_step(f"measuring {len(missing)} runs of {SECONDS:g} s each into {folder}")
        stack = commands.load_stack()
        stack.up(report=print_step)
        if _is_cold(stack):
            print_step(
                f"warming up the brokers under load for {FIRST_WARMUP_S:g} s (their compiler distorts a cold measurement)"
            )
            _measure(scenario, Load(HELD_OUT_EPS, 0), folder, seconds=FIRST_WARMUP_S, keep=False)
    else:
        print_step(f"reusing {len(loads)} runs in {folder}; delete the folder to measure again")
    for number, load in enumerate(missing):
        print_step(f"run {number + 1}/{len(missing)}: {load.rate_eps:,.0f} events/s")
        _measure(scenario, load, folder, seconds=SECONDS, keep=True)
    return {load: read_run(folder / load.folder) for load in loads}


def _measure(scenario: Scenario, load: Load, folder: Path, *, seconds: float, keep: bool) -> None:
    import shutil

    live = commands.load_measure()
    out = folder / (load.folder if keep else ".warm-up")
    with measuring(WARMUP_S + seconds, quiet=False) as report:
        live(
            _at(scenario, load.rate_eps),
            rate_eps=load.rate_eps,
            seconds=seconds,
            warmup_s=WARMUP_S,
            seed=SEED + load.repeat,
            out=out,
            replace=True,
            progress=report,
        )
    if not keep:
        shutil.rmtree(out)
        _mark_warm(commands.load_stack())


def _at(scenario: Scenario, rate_eps: float) -> Scenario:
    from sentra_sim.scenario import with_load

    return with_load(scenario, rate_eps=rate_eps)


def _is_current(scenario: Scenario, load: Load, folder: Path) -> bool:
    """A run is reused when it is of the same scenario, load and length."""
    from sentra_sim.records import read_manifest
    from sentra_sim.scenario import scenario_hash

    manifest = read_manifest(folder / load.folder)
    same = manifest.scenario_hash == scenario_hash(_at(scenario, load.rate_eps)) and manifest.seconds == SECONDS
    return same and manifest.validity.valid


def _warm_mark(stack: Any) -> Path:
    return Path(os.environ.get("SENTRA_HOME", ".sentra")) / f"warm-{stack.endpoints().stack_id}"


def _is_cold(stack: Any) -> bool:
    return not _warm_mark(stack).exists()


def _mark_warm(stack: Any) -> None:
    _warm_mark(stack).touch()


def _calibrate(training: Sequence[Run], path: Path) -> None:
    from sentra_sim.twin import calibrate, load_twin, save_twin
    from sentra_sim.twin.observe import run_hash

    if path.is_file():
        known = {run.sha256 for run in load_twin(path).training}
        if known == {run_hash(run) for run in training}:
            print_step(f"reusing {path}")
            return
    with working("calibrating", quiet=False) as report:
        save_twin(calibrate(training, progress=report), path)


def _simulate_loads(scenario: Scenario, folder: Path, twin_path: Path) -> None:
    """Writes one simulated run per load, for the dashboard to lay beside the measured ones."""
    from sentra_sim.engine import simulate
    from sentra_sim.records import write_run
    from sentra_sim.twin import apply_twin, load_twin, twin_hash

    twin, digest = load_twin(twin_path), twin_hash(twin_path)
    for rate in (*TRAINED_EPS, HELD_OUT_EPS):
        fitted = apply_twin(twin, _at(scenario, rate))
        tables, manifest = simulate(fitted, seconds=SECONDS, warmup_s=WARMUP_S, seed=SEED, twin=digest)
        write_run(folder / f"simulated-{rate:.0f}", tables, manifest, replace=True)


def _report_misses(runs: Sequence[Run]) -> bool:
    from sentra_sim.kpi import breaches, kpis

    missed = False
    for run in runs:
        for kpi in breaches(kpis(run)):
            missed = True
            print(f"SLO MISSED: {run.name}: {kpi.name} is {kpi.value}, must be {kpi.bound}")
        if not run.manifest.validity.valid:
            missed = True
            print(f"NOT VALID: {run.name}: {'; '.join(run.manifest.validity.reasons)}")
    return missed


def _serve(folder: Path) -> None:
    from sentra_sim.dashboard import serve

    serve(folder, port=0, show=False, on_ready=lambda url: print(f"dashboard: {url} (Ctrl-C ends it)", flush=True))

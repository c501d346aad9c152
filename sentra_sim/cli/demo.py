"""The main job: a twin of a real pipeline, and how well it predicts a load that it was never shown."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sentra_sim.cli import live
from sentra_sim.cli.progress import measuring, print_step, working

if TYPE_CHECKING:
    from sentra_sim.records import Run
    from sentra_sim.scenario import Scenario

SCENARIO = Path("data/scenarios/sentra.yaml")
SEED = 1


@dataclass(frozen=True)
class Protocol:
    """What the demo measures. Rates in events/s; the twin never sees the held-out one."""

    trained_eps: tuple[float, ...] = (20_000.0, 35_000.0, 65_000.0)
    held_out_eps: float = 50_000.0
    repeats: int = 2
    seconds: float = 16.0
    warmup_s: float = 4.0
    # A cold JVM costs two to three times as much, and its compiler takes the cores meanwhile. It goes by how often code has run, so
    # short lingers, and with them more batches, warm it up sooner; and it compiles anew for what a new run brings (topics made and
    # deleted, another load), so several short runs leave it quieter than one long run.
    warmup_eps: tuple[float, ...] = (50_000.0, 20_000.0, 65_000.0, 35_000.0, 50_000.0, 65_000.0)
    warmup_run_s: float = 18.0
    warmup_linger_s: float = 0.010
    # How many runs that were not valid measurements are repeated, the held-out load's first: the whole is to end within ten minutes.
    retries: int = 4

    @property
    def rates(self) -> tuple[float, ...]:
        """All loads, the held-out one last."""
        return (*self.trained_eps, self.held_out_eps)


@dataclass(frozen=True)
class Load:
    """One measurement of the demo."""

    rate_eps: float
    repeat: int

    @property
    def folder(self) -> str:
        """Name of the run folder."""
        return f"measured-{self.rate_eps:.0f}-{self.repeat}"


def run_demo(folder: Path, *, no_serve: bool, protocol: Protocol = Protocol()) -> int:
    """Measures what is missing, calibrates, validates, prints the table and serves the dashboard.

    Returns 0, or 1 with a line for each SLO that a valid run misses. A run that is not valid says so; what rests on it is not trusted.
    """
    from sentra_sim.cli.tables import print_validation
    from sentra_sim.scenario import load_scenario
    from sentra_sim.twin import save_validation
    from sentra_sim.twin import validate as compare

    scenario = load_scenario(SCENARIO)
    runs = _measure_missing(scenario, folder, protocol)
    training = [run for load, run in runs.items() if load.rate_eps != protocol.held_out_eps]
    twin_path = folder / "twin.yaml"
    _calibrate(training, twin_path)
    with working("validating", quiet=False) as report:
        found = compare(twin_path, list(runs.values()), progress=report)
    save_validation(found, folder / "validation.json")
    _simulate_loads(scenario, folder, twin_path, protocol)
    print_validation(found, as_json=False, hops=False)
    missed = _report_misses(list(runs.values()))
    if no_serve or os.environ.get("SERVE") == "0":
        print(f"look: sentra dashboard {folder}")
    else:
        _serve(folder)
    return 1 if missed else 0


def _measure_missing(scenario: Scenario, folder: Path, protocol: Protocol) -> dict[Load, Run]:
    from sentra_sim.records import read_run

    loads = [Load(rate, repeat + 1) for rate in protocol.rates for repeat in range(protocol.repeats)]
    missing = [load for load in loads if not _is_there(scenario, load, folder, protocol)]
    # Shuffled, so that the host's drift over the minutes does not look like an effect of the load.
    random.Random(SEED).shuffle(missing)
    if missing:
        print_step(f"measuring {len(missing)} runs of {protocol.seconds:g} s each into {folder}")
        warm_stack(scenario, folder, protocol)
    else:
        print_step(f"reusing {len(loads)} runs in {folder}; delete the folder to measure again")
    for number, load in enumerate(missing):
        print_step(f"run {number + 1}/{len(missing)}: {load.rate_eps:,.0f} events/s")
        measure_load(scenario, load, folder / load.folder, protocol.warmup_s, protocol.seconds)
    spoilt = [load for load in missing if not _is_there(scenario, load, folder, protocol)]
    spoilt.sort(key=lambda load: load.rate_eps != protocol.held_out_eps)
    for load in spoilt[: protocol.retries]:
        print_step(f"again, as it was not a valid measurement: {load.rate_eps:,.0f} events/s")
        measure_load(scenario, load, folder / load.folder, protocol.warmup_s, protocol.seconds)
    return {load: read_run(folder / load.folder) for load in loads}


def _is_there(scenario: Scenario, load: Load, folder: Path, protocol: Protocol) -> bool:
    """A run is reused when it is of the same scenario, load and length, and was a valid measurement."""
    from sentra_sim.records import is_run, read_manifest
    from sentra_sim.scenario import scenario_hash, with_load

    if not is_run(folder / load.folder):
        return False
    manifest = read_manifest(folder / load.folder)
    same = manifest.scenario_hash == scenario_hash(with_load(scenario, rate_eps=load.rate_eps))
    return same and manifest.seconds == protocol.seconds and manifest.validity.valid


def warm_stack(scenario: Scenario, folder: Path, protocol: Protocol) -> None:
    """Brings the stack up and puts its brokers under load once, until their compiler has done its work."""
    from sentra_sim.scenario import Batcher, only

    live.start_stack(quiet=False)
    mark = _warm_mark(live.load("stack"))
    if mark.exists():
        return
    print_step(f"warming the brokers up in {len(protocol.warmup_eps)} runs of {protocol.warmup_run_s:g} s")
    out = folder / ".warm-up"
    batcher, station = only(scenario, Batcher)
    hurried = station.model_copy(update={"linger_s": protocol.warmup_linger_s})
    warming = scenario.model_copy(update={"stations": {**scenario.stations, batcher: hurried}})
    for rate_eps in protocol.warmup_eps:
        measure_load(warming, Load(rate_eps, 0), out, 0.0, protocol.warmup_run_s)
    shutil.rmtree(out)
    mark.touch()


def _warm_mark(stack: Any) -> Path:
    return Path(os.environ.get("SENTRA_HOME", ".sentra")) / f"warm-{stack.endpoints().stack_id}"


def measure_load(scenario: Scenario, load: Load, out: Path, warmup_s: float, seconds: float) -> None:
    """Records one load, in place of a run that is there."""
    play = live.load("measure").measure
    with measuring(warmup_s + seconds, quiet=False) as report:
        play(
            scenario,
            rate_eps=load.rate_eps,
            seconds=seconds,
            warmup_s=warmup_s,
            seed=SEED + load.repeat,
            out=out,
            replace=True,
            progress=report,
        )


def _calibrate(training: Sequence[Run], path: Path) -> None:
    from sentra_sim.twin import calibrate, load_twin, run_hash, save_twin

    if path.is_file() and {run.sha256 for run in load_twin(path).training} == {run_hash(run) for run in training}:
        print_step(f"reusing {path}")
        return
    with working("calibrating", quiet=False) as report:
        save_twin(calibrate(training, progress=report), path)


def _simulate_loads(scenario: Scenario, folder: Path, twin_path: Path, protocol: Protocol) -> None:
    """Writes one simulated run per load, for the dashboard to lay beside the measured ones."""
    from sentra_sim.engine import simulate
    from sentra_sim.records import write_run
    from sentra_sim.scenario import with_load
    from sentra_sim.twin import apply_twin, load_twin, twin_hash

    twin, digest = load_twin(twin_path), twin_hash(twin_path)
    for rate in protocol.rates:
        fitted = apply_twin(twin, with_load(scenario, rate_eps=rate))
        tables, manifest = simulate(
            fitted, seconds=protocol.seconds, warmup_s=protocol.warmup_s, seed=SEED, twin=digest
        )
        write_run(folder / f"simulated-{rate:.0f}", tables, manifest, replace=True)


def _report_misses(runs: Sequence[Run]) -> bool:
    from sentra_sim.kpi import breaches, kpis

    missed = False
    for run in runs:
        if not run.manifest.validity.valid:
            print(f"NOT VALID: {run.name}: {'; '.join(run.manifest.validity.reasons)}")
            continue
        for kpi in breaches(kpis(run)):
            missed = True
            print(f"SLO MISSED: {run.name}: {kpi.name} is {kpi.value}, must be {kpi.bound}")
    return missed


def _serve(folder: Path) -> None:
    from sentra_sim.dashboard import serve

    serve(folder, port=0, show=False, on_ready=lambda url: print(f"dashboard: {url} (Ctrl-C ends it)", flush=True))

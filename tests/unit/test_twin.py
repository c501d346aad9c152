"""Calibration proven on synthetic measurements: a pipeline with known demands and delays, recovered from its recordings alone."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from sentra_sim.engine import simulate
from sentra_sim.errors import CalibrationError, InputError
from sentra_sim.records import IDLE_CORES, METRIC_COLUMNS, Run, Tables, read_run, write_run
from sentra_sim.scenario import Scenario, load_scenario, parse_scenario, scenario_data, with_load
from sentra_sim.twin import Twin, calibrate, load_twin, load_validation, save_twin, save_validation, validate
from sentra_sim.twin.observe import PROBABILITIES, observe

SENTRA = Path(__file__).parents[2] / "data" / "scenarios" / "sentra.yaml"
TRUE_SCALE = 1.6
TRUE_POSTGRES_DELAY_S = 2.0e-3
SECONDS, WARMUP_S = 6.0, 4.0


@dataclass(frozen=True)
class World:
    """A twin fitted to synthetic runs, and the runs held out from it."""

    folder: Path
    twin: Twin
    training: list[Run]
    held_out: list[Run]


def truth() -> Scenario:
    """The pipeline that nature runs: dearer pricing and a slower commit than the scenario file believes."""
    data = scenario_data(load_scenario(SENTRA))
    stations = data["stations"]
    for term in ("job_s", "event_s"):
        stations["pricing"]["demand"][term] *= TRUE_SCALE
    # Without any jitter the phases of a seed lock, and repeats of a load differ more than loads do.
    stations["gateway"]["timer"] = {"mean_s": 1.0e-3, "noise": {"dist": "exponential"}}
    stations["kafka"]["replication"] = {"mean_s": 1.0e-3, "noise": {"dist": "lognormal", "cv": 0.3}}
    stations["postgres"]["delay"] = {"mean_s": TRUE_POSTGRES_DELAY_S, "noise": {"dist": "lognormal", "cv": 0.5}}
    for station in stations.values():
        station["background"] = []
    return parse_scenario(data)


def record(folder: Path, name: str, rate_eps: float, seed: int) -> Run:
    """Simulates nature and writes it down as a measurement of the scenario file: the fit must not see the truth."""
    tables, manifest = simulate(with_load(truth(), rate_eps=rate_eps), seconds=SECONDS, warmup_s=WARMUP_S, seed=seed)
    believed = scenario_data(with_load(load_scenario(SENTRA), rate_eps=rate_eps))
    manifest = manifest.model_copy(
        update={"source": "measured", "engine": None, "scenario": believed, "scenario_hash": f"{rate_eps:g}"}
    )
    idle = pl.DataFrame(
        {"time_s": 0.0, "name": IDLE_CORES, "labels": 'process="pricing"', "value": 0.0}, schema=METRIC_COLUMNS
    )
    write_run(folder / name, Tables(tables.frames, tables.events, pl.concat([tables.metrics, idle])), manifest)
    return read_run(folder / name)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    training = [record(folder, f"train-{rate}-{seed}", rate, seed) for rate in (15_000.0, 45_000.0) for seed in (1, 2)]
    held_out = [record(folder, f"held-{seed}", 30_000.0, seed) for seed in (3, 4)]
    twin = calibrate(training)
    save_twin(twin, folder / "twin.yaml")
    return World(folder, twin, training, held_out)


def test_the_fit_recovers_a_demand_it_was_wrong_about(world: World) -> None:
    fit = world.twin.processes["pricing"]
    assert fit.job_scale == pytest.approx(TRUE_SCALE, rel=0.05)
    assert fit.event_scale == pytest.approx(TRUE_SCALE, rel=0.05)
    assert world.twin.processes["redis"].event_scale == pytest.approx(1.0, rel=0.05)


def test_the_fit_recovers_a_delay_and_its_spread(world: World) -> None:
    delay = world.twin.fitted().stations["postgres"].delay
    assert delay.mean_s == pytest.approx(TRUE_POSTGRES_DELAY_S, rel=0.1)
    quantiles = delay.noise.quantiles
    assert quantiles[90] > 1.3
    assert quantiles[30] < 1.0


def test_the_discipline_that_nature_uses_is_the_closer_one(world: World) -> None:
    assert world.twin.discipline == "fifo-slice"
    assert world.twin.losses["fifo-slice"] < world.twin.losses["ps"]


def test_a_simulation_that_never_gets_through_is_far_away_not_an_error(world: World) -> None:
    calibrating = importlib.import_module("sentra_sim.twin.calibrate")
    seen = observe(world.training[0])
    nothing = np.full(len(PROBABILITIES), np.nan)

    @dataclass
    class Saturated:
        hops: dict[str, Any]
        end_to_end: Any = field(default_factory=lambda: nothing)

    same, stuck = Saturated(seen.hops, seen.end_to_end), Saturated(seen.hops | {"clickhouse": nothing})
    assert calibrating._loss(seen.scenario, [seen], lambda *_: same) == 0.0
    assert calibrating._loss(seen.scenario, [seen], lambda *_: stuck) > 50.0


def test_a_held_out_load_is_predicted_and_the_verdict_says_so(world: World) -> None:
    found = validate(world.folder / "twin.yaml", world.held_out)
    errors = {row.name: row.error for row in found.rows if row.kind == "kpi"}
    assert abs(errors["e2e_p50_s"]) < 0.05
    assert abs(errors["e2e_p95_s"]) < 0.08
    assert abs(errors["throughput_eps"]) < 0.01
    assert found.trusted is True
    assert all(point.held_out for point in found.points)
    baseline = {row.name: row.baseline_error for row in found.rows}
    assert abs(baseline["cpu_cores"]) > 0, "the naive baseline is computed, not assumed"


def test_a_load_that_was_trained_on_does_not_earn_trust(world: World) -> None:
    found = validate(world.folder / "twin.yaml", world.training)
    assert found.trusted is None
    assert "held-out" in found.reason


def test_a_prediction_held_against_a_spoilt_measurement_is_not_known(world: World) -> None:
    validity = world.held_out[0].manifest.validity.model_copy(
        update={"valid": False, "reasons": ("the generator was starved",)}
    )
    run = world.held_out[0]
    spoilt = Run(run.path, run.manifest.model_copy(update={"validity": validity}), run.tables)
    found = validate(world.folder / "twin.yaml", [spoilt, world.held_out[1]])
    assert found.trusted is None
    assert "not a valid measurement" in found.reason


def test_a_twin_of_another_pipeline_is_not_trusted(world: World, tmp_path: Path) -> None:
    data = world.twin.model_dump(mode="json")
    data["scenario"]["stations"]["postgres"]["delay"]["mean_s"] *= 20
    save_twin(Twin.model_validate(data), tmp_path / "twin.yaml")
    found = validate(tmp_path / "twin.yaml", world.held_out)
    assert found.trusted is False
    assert any(row.grade == "poor" for row in found.rows)


def test_twin_and_validation_come_back_from_disk_as_they_were(world: World, tmp_path: Path) -> None:
    assert load_twin(world.folder / "twin.yaml") == world.twin
    found = validate(world.folder / "twin.yaml", world.held_out)
    assert load_validation(save_validation(found, tmp_path / "validation.json")) == found


def test_one_load_only_says_what_is_missing(world: World) -> None:
    with pytest.raises(
        CalibrationError,
        match=r"needs measured runs at two loads or more, got 15000 events/s only; .*measure another --rate",
    ):
        calibrate(world.training[:2])


def test_a_simulated_run_cannot_teach(world: World) -> None:
    run = world.training[0]
    fake = Run(run.path, run.manifest.model_copy(update={"source": "simulated"}), run.tables)
    with pytest.raises(CalibrationError, match="must be a measured run, got a simulated one"):
        calibrate([fake, *world.training[1:]])


@pytest.mark.parametrize(
    "text", ["", "[1, 2]", "schema_version: 1\nunknown: 2\n", "a: [", "!!python/object/apply:os.getcwd []"]
)
def test_what_is_not_a_twin_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "twin.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as refused:
        load_twin(file)
    assert "\n" not in str(refused.value)
    assert "sentra calibrate" in str(refused.value)

"""Which process grows: a leak is found, noise and sawteeth are not taken for one, and a short run does not decide."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from sentra_sim.cli import main
from sentra_sim.kpi import Bounds, growth, trend
from sentra_sim.records import METRIC_COLUMNS, OPEN_FDS, PRIVATE_MEMORY, Run, write_run
from tests.unit.handmade import small_run

Floats = NDArray[np.float64]
HOUR_S = 3600
SECONDS = np.arange(1.0, HOUR_S + 1)
BOUND_MB = 5.0


def noise(seed: int, size: float = 1.0) -> Floats:
    return np.random.default_rng(seed).normal(0.0, size, HOUR_S)


def sawtooth(height_mb: float, period_s: float) -> Floats:
    """Garbage that grows and is collected."""
    return height_mb * (SECONDS % period_s) / period_s


def test_a_flat_process_with_noise_is_flat_and_its_interval_holds_zero() -> None:
    found = trend(SECONDS, 100.0 + noise(1), bound_per_h=BOUND_MB)
    assert found.verdict == "flat"
    assert found.slope_per_h
    assert found.slope_per_h.covers(0.0)


def test_a_leak_of_ten_megabytes_an_hour_grows_and_the_interval_holds_it() -> None:
    found = trend(SECONDS, 100.0 + 10.0 * SECONDS / HOUR_S + noise(2), bound_per_h=BOUND_MB)
    assert found.verdict == "grows"
    assert found.slope_per_h
    assert found.slope_per_h.covers(10.0)
    assert found.slope_per_h.half_width < 1.0


@pytest.mark.parametrize("period_s", [20.0, 70.0, 240.0])
def test_the_sawteeth_of_a_collector_are_no_leak_and_do_not_hide_one(period_s: float) -> None:
    teeth = 100.0 + sawtooth(20.0, period_s) + noise(3)
    assert trend(SECONDS, teeth, bound_per_h=BOUND_MB).verdict == "flat"
    leaking = trend(SECONDS, teeth + 30.0 * SECONDS / HOUR_S, bound_per_h=BOUND_MB)
    assert leaking.verdict == "grows"


def test_what_a_process_takes_while_it_warms_up_is_cut_off() -> None:
    warming = 100.0 + 80.0 * np.minimum(SECONDS / 400.0, 1.0) + noise(4)
    found = trend(SECONDS, warming, bound_per_h=BOUND_MB)
    assert found.verdict == "flat"
    assert found.cut_s == pytest.approx(400.0, abs=30.0)
    assert found.start == pytest.approx(180.0, abs=0.5)
    stepped = 100.0 + np.where(SECONDS > 900, 50.0, 0.0) + noise(5)
    assert trend(SECONDS, stepped, bound_per_h=BOUND_MB).verdict == "flat"


def test_a_short_run_with_waves_does_not_decide() -> None:
    wave = 100.0 + 5.0 * np.sin(SECONDS[:120] / 20.0)
    assert trend(SECONDS[:120], wave, bound_per_h=BOUND_MB).verdict == "undecided"
    assert trend(SECONDS[:12], wave[:12], bound_per_h=BOUND_MB).verdict == "nodata"


def test_the_verdict_flat_is_wrong_in_one_of_forty_at_most_where_the_leak_is_the_bound() -> None:
    rng = np.random.default_rng(6)
    wrong = 0
    for _ in range(400):
        walk = np.convolve(rng.normal(0.0, 1.0, HOUR_S + 100), np.exp(-np.arange(101) / 20.0), mode="valid")
        wrong += trend(SECONDS, BOUND_MB * SECONDS / HOUR_S + walk, bound_per_h=BOUND_MB).verdict == "flat"
    assert wrong <= 400 * 0.025 + 10


def with_held(run: Run, memory: dict[str, Floats], fds: dict[str, Floats]) -> Run:
    parts = [run.tables.metrics]
    for name, by_process in ((PRIVATE_MEMORY, memory), (OPEN_FDS, fds)):
        for process, values in by_process.items():
            labels = f'process="{process}"'
            rows = {"time_s": SECONDS[: len(values)], "name": name, "labels": labels, "value": values}
            parts.append(pl.DataFrame(rows, schema=METRIC_COLUMNS))
    return replace(run, tables=replace(run.tables, metrics=pl.concat(parts)))


def soaked(folder: Path) -> Run:
    """Ten minutes: the worker leaks memory, the store descriptors, the batcher nothing."""
    time_s = SECONDS[:600]
    flat = np.full(600, 50e6)
    run = small_run(folder, [5.0] * 200, seconds=600.0)
    memory = {"batcher": flat, "worker": flat + 3e4 * time_s, "store": flat}
    fds = {"batcher": np.full(600, 20.0), "store": 20.0 + time_s // 5}
    return with_held(run, memory, fds)


def test_each_process_is_judged_by_memory_and_by_descriptors() -> None:
    found = {one.process: one for one in growth(soaked(Path("x")))}
    assert list(found) == ["batcher", "store", "worker"]
    assert {name: one.memory.verdict for name, one in found.items()} == {
        "batcher": "flat",
        "store": "flat",
        "worker": "grows",
    }
    assert {name: one.descriptors.verdict for name, one in found.items()} == {
        "batcher": "flat",
        "store": "grows",
        "worker": "nodata",
    }
    assert found["store"].descriptors.highest == 140.0
    worker = found["worker"].memory
    assert worker.slope_per_h
    assert worker.slope_per_h.value == pytest.approx(108.0)
    generous = {one.process: one.memory.verdict for one in growth(soaked(Path("x")), Bounds(memory_mb=200.0))}
    assert generous["worker"] == "flat"


def test_soak_prints_the_verdicts_and_fails_when_told_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = soaked(tmp_path / "run")
    write_run(run.path, run.tables, run.manifest)
    assert main(["soak", str(run.path)]) == 0
    shown = capsys.readouterr().out
    assert "GROWS" in shown
    assert "+108.0" in shown
    assert main(["soak", str(run.path), "--enforce", "--json"]) == 1
    told = {one["process"]: one for one in json.loads(capsys.readouterr().out)["processes"]}
    assert told["worker"]["memory"]["verdict"] == "grows"
    assert main(["soak", str(run.path), "--enforce", "--bound", "200", "--fd-bound", "1e4"]) == 0


def test_soak_of_a_run_without_memory_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = small_run(tmp_path / "run", [5.0] * 200)
    write_run(run.path, run.tables, run.manifest)
    assert main(["soak", str(run.path)]) == 2
    assert "must hold process_private_memory_bytes, got none" in capsys.readouterr().err
    assert main(["soak", str(run.path), "--bound", "0"]) == 2
    assert "--bound: must be positive, got 0" in capsys.readouterr().err

"""The noise floor: range over mean of valid repeats; spoilt runs are shown and do not count."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sentra_sim.cli import floor as cli_floor
from sentra_sim.cli import main
from sentra_sim.kpi import kpis, noise_floor
from sentra_sim.records import write_run
from tests.builders import SCENARIO, make_run


def test_the_floor_is_range_over_mean_of_the_valid_runs() -> None:
    runs = [make_run(Path(f"r{seed}"), seed=seed, slowness=1.0 + seed / 10, seconds=3.0) for seed in (1, 2, 3)]
    runs.append(make_run(Path("spoilt"), slowness=5.0, seconds=3.0, valid=False))
    found = {one.name: one for one in noise_floor(runs)}
    assert list(found) == ["e2e_p50_s", "e2e_p95_s", "e2e_p99_s"]
    medians = [kpi.value for run in runs[:3] for kpi in kpis(run) if kpi.name == "e2e_p50_s"]
    assert list(found["e2e_p50_s"].values_s) == medians
    values = [value for value in medians if value is not None]
    assert found["e2e_p50_s"].spread == pytest.approx((max(values) - min(values)) / (sum(values) / 3))


def test_one_valid_run_has_no_floor() -> None:
    runs = [make_run(Path("good"), seconds=3.0), make_run(Path("spoilt"), seconds=3.0, valid=False)]
    assert [one.spread for one in noise_floor(runs)] == [None, None, None]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stands for the pipeline: the second run of 2,000 events/s is spoilt; returns what was measured, in order."""
    order: list[str] = []

    def measure(_: Any, load: Any, out: Path, warmup_s: float, seconds: float) -> None:
        order.append(out.name)
        valid = out.name != "measured-2000-2"
        run = make_run(out, rate_eps=load.rate_eps, warmup_s=warmup_s, seconds=seconds, seed=load.repeat, valid=valid)
        write_run(out, run.tables, run.manifest)

    monkeypatch.setattr(cli_floor, "measure_load", measure)
    monkeypatch.setattr(cli_floor, "warm_stack", lambda *_: None)
    return order


def test_loads_are_repeated_in_shuffled_order_and_the_runs_are_kept(
    tmp_path: Path, measured: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["floor", str(SCENARIO), "--rates", "2000,4000", "--repeats", "3", "--seconds", "2", "-o", str(tmp_path)]
    assert main([*command, "--json"]) == 0
    assert sorted(measured) == sorted(path.name for path in tmp_path.iterdir())
    assert len(measured) == 6
    assert measured != sorted(measured)
    told = json.loads(capsys.readouterr().out)
    assert {(one["rate_eps"], len(one["values_s"])) for one in told["floors"]} == {(2_000.0, 2), (4_000.0, 3)}
    assert list(told["not_valid"]) == ["measured-2000-2"]
    assert main(command) == 2  # nothing is measured over runs that are there
    assert len(measured) == 6


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--rates", "fast"], "--rates: must be different rates"),
        (["--rates", "5,5"], "--rates: must be different rates"),
        (["--rates", "-5"], "--rates: must be different rates"),
        (["--repeats", "1"], "--repeats: must be >= 2, got 1; one run has no spread"),
    ],
)
def test_what_cannot_be_repeated_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], line: str
) -> None:
    assert main(["floor", str(SCENARIO), "-o", str(tmp_path), *(f"{a}={b}" for a, b in [options])]) == 2
    assert line in capsys.readouterr().err

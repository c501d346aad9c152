"""The command as a user meets it: what works, and one line with exit code 2 for each thing that cannot."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from sentra_sim.cli import main

SENTRA = Path(__file__).parents[2] / "data" / "scenarios" / "sentra.yaml"


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "sim"
    arguments = [
        "simulate",
        str(SENTRA),
        "--rate",
        "5000",
        "--seconds",
        "3",
        "--warmup",
        "1",
        "-o",
        str(folder),
        "--json",
    ]
    assert main(arguments) == 0
    return folder


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Runs a command that must be refused as bad input and returns its one line."""
    capsys.readouterr()
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1, shown.err
    return shown.err.strip()


def edited(tmp_path: Path, where: str, value: object) -> str:
    """Writes Sentra's scenario with one key changed and returns its path."""
    data = yaml.safe_load(SENTRA.read_text(encoding="utf-8"))
    *parents, key = where.split(".")
    block = data
    for parent in parents:
        block = block[parent]
    block[key] = value
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(data), encoding="utf-8")
    return str(file)


def test_a_simulation_prints_kpis_for_people_and_for_machines(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["kpi", str(run_folder), "--hops"]) == 0
    shown = capsys.readouterr().out
    assert "e2e_p95_s" in shown
    assert "intended → received" in shown
    assert main(["kpi", str(run_folder), "--json"]) == 0
    found = {kpi["name"]: kpi for kpi in json.loads(capsys.readouterr().out)["kpis"]}
    assert 0.005 < found["e2e_p50_s"]["value"] < found["e2e_p95_s"]["value"] < 0.120
    assert found["throughput_eps"]["verdict"] == "not offered"


def test_enforce_fails_loudly_when_a_bound_is_missed(
    tmp_path: Path, run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["kpi", str(run_folder), "--enforce"]) == 0
    strict = edited(tmp_path, "slo.e2e_p95_s", {"max": 0.001})
    out = tmp_path / "strict"
    assert main(["simulate", strict, "--rate", "5000", "--seconds", "3", "--warmup", "1", "-o", str(out)]) == 0
    assert main(["kpi", str(out), "--enforce"]) == 1
    assert "BREACH" in capsys.readouterr().out


def test_both_engines_print_the_same_kpis(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = []
    for engine in ("compiled", "reference"):
        folder = tmp_path / engine
        main(
            [
                "simulate",
                str(SENTRA),
                "--rate",
                "2000",
                "--seconds",
                "1",
                "--warmup",
                "0",
                "--engine",
                engine,
                "-o",
                str(folder),
                "--json",
            ]
        )
        found.append(json.loads(capsys.readouterr().out)["kpis"])
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("where", "value", "line"),
    [
        ("stations.worker.replica", 2, "mine.yaml: stations.worker.replica: unknown key; did you mean 'replicas'?"),
        ("load.rate_eps", -5, "mine.yaml: load.rate_eps: must be greater than 0, got -5; write a positive number"),
    ],
)
def test_a_wrong_scenario_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], where: str, value: object, line: str
) -> None:
    out = tmp_path / "out"
    assert refused(capsys, "simulate", edited(tmp_path, where, value), "-o", str(out)) == f"sentra: {line}"
    assert not out.exists()


def test_a_negative_rate_on_the_command_line_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(capsys, "simulate", str(SENTRA), "--rate", "-5", "-o", str(tmp_path / "out"))
    assert line == "sentra: sentra: load.rate_eps: must be greater than 0, got -5.0; write a positive number"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_run_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(capsys, "kpi", str(tmp_path))
    assert "must be a run folder, got one without manifest.json" in line


@pytest.mark.parametrize("table", ["frames", "events", "metrics"])
def test_a_recording_cut_off_in_the_middle_is_one_line(
    tmp_path: Path, run_folder: Path, capsys: pytest.CaptureFixture[str], table: str
) -> None:
    cut = tmp_path / "cut"
    shutil.copytree(run_folder, cut)
    file = cut / f"{table}.parquet"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    line = refused(capsys, "kpi", str(cut))
    assert f"{table}.parquet: must be a whole Parquet file" in line
    assert "record the run again" in line


def test_an_existing_run_is_not_overwritten(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (run_folder / "manifest.json").read_bytes()
    line = refused(capsys, "simulate", str(SENTRA), "-o", str(run_folder))
    assert "must not exist yet, got a folder; choose another name or add --replace" in line
    assert (run_folder / "manifest.json").read_bytes() == before


def test_replace_overwrites_runs_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "precious.txt").write_text("mine", encoding="utf-8")
    line = refused(capsys, "simulate", str(SENTRA), "-o", str(tmp_path), "--replace")
    assert "overwrites run folders only" in line
    assert (tmp_path / "precious.txt").exists()


def test_calibrating_on_simulated_runs_is_refused(
    tmp_path: Path, run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(capsys, "calibrate", str(run_folder), "-o", str(tmp_path / "twin.yaml"))
    assert "must be a measured run, got a simulated one" in line
    assert not (tmp_path / "twin.yaml").exists()


def test_a_wrong_option_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert "see sentra --help" in refused(capsys, "meassure")
    assert "--seconds: must be positive, got 0" in refused(capsys, "simulate", str(SENTRA), "--seconds", "0", "-o", "x")
    assert "--seed: must be >= 0, got -1" in refused(capsys, "simulate", str(SENTRA), "--seed", "-1", "-o", "x")

"""`sentra verify` as a user meets it: clean, faulty, and runs that hold nothing to judge."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sentra_sim.cli import main
from sentra_sim.records import read_run, write_run
from tests.unit.drained_runs import DrainedRun, events_of

RECORDED = Path(__file__).parents[2] / "data" / "runs" / "measured-20000"


def write(folder: Path, run: DrainedRun) -> Path:
    recorded = read_run(RECORDED)
    manifest = recorded.manifest.model_copy(update={"files": {}})
    return write_run(folder / "run", recorded.tables, manifest, evidence=run.evidence().tables())


def test_a_clean_run_is_told_invariant_by_invariant(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write(tmp_path, DrainedRun())
    assert main(["verify", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "acked-in-effect" in shown
    assert "FAULT" not in shown
    assert read_run(folder).manifest.files.keys() >= {"frames", "evidence/keys"}


def test_a_fault_is_told_with_its_ids_and_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = DrainedRun()
    run.apply_again(events_of(0)[4:16])
    folder = write(tmp_path, run)
    assert main(["verify", str(folder)]) == 1
    shown = capsys.readouterr().out
    key = events_of(0)["key"][4]
    told = "took effect twice: its batch was applied again"
    assert f"effect-once: 1:10 (key {key}, partition 0, offset 4): {told}\n" in shown
    assert "effect-once: and 2 more" in shown

    assert main(["verify", str(folder), "--json"]) == 1
    data = json.loads(capsys.readouterr().out)
    (once,) = [finding for finding in data["findings"] if finding["invariant"] == "effect-once"]
    assert data["faulty"]
    assert [offence["sequence"] for offence in once["ids"]] == list(range(10, 34, 2))


def test_a_run_without_evidence_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(RECORDED)]) == 2
    assert "must hold evidence, got none; measure again without --no-evidence" in capsys.readouterr().err


def test_a_simulated_run_is_one_line_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorded = read_run(RECORDED)
    write_run(
        tmp_path / "run", recorded.tables, recorded.manifest.model_copy(update={"source": "simulated", "files": {}})
    )
    assert main(["verify", str(tmp_path / "run")]) == 2
    assert "must be a measured run, got a simulated one" in capsys.readouterr().err


def test_damaged_evidence_is_one_line_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write(tmp_path, DrainedRun())
    file = folder / "evidence" / "keys.parquet"
    file.write_bytes(file.read_bytes()[:-9])
    assert main(["verify", str(folder)]) == 2
    assert "must be a whole Parquet file" in capsys.readouterr().err

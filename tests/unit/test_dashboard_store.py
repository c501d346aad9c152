"""What the dashboard finds in a workspace: runs, damaged ones with their reason, and the pair to show first."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sentra_sim.dashboard.store import Store
from sentra_sim.errors import RecordingError
from tests.builders import save_run


def test_runs_are_listed_latest_first_and_other_folders_left_out(tmp_path: Path) -> None:
    save_run(tmp_path / "old", started_at="2026-03-01T10:00:00+00:00")
    save_run(tmp_path / "new", started_at="2026-03-02T10:00:00+00:00")
    (tmp_path / "notes").mkdir()
    (tmp_path / ".measured.1234.part").mkdir()
    assert [entry.name for entry in Store(tmp_path).entries()] == ["new", "old"]


def test_a_missing_folder_is_an_empty_one(tmp_path: Path) -> None:
    store = Store(tmp_path / "nowhere")
    assert store.entries() == ()
    assert store.default_pair() is None


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda run: (run / "manifest.json").unlink(), "must be a run folder, got one without manifest.json"),
        (lambda run: (run / "manifest.json").write_text('{"source": "guessed"}'), "manifest.json: source:"),
        (lambda run: (run / "metrics.parquet").unlink(), "metrics.parquet: missing"),
        (lambda run: os.truncate(run / "events.parquet", 100), "events.parquet: must be a whole Parquet file"),
    ],
    ids=["no manifest", "foreign manifest", "table missing", "table cut off"],
)
def test_a_damaged_run_is_listed_with_one_line(tmp_path: Path, damage: object, reason: str) -> None:
    save_run(tmp_path / "run", seconds=3.0)
    assert callable(damage)
    damage(tmp_path / "run")
    (entry,) = Store(tmp_path).entries()
    assert entry.manifest is None
    assert entry.problem is not None
    assert reason in entry.problem
    assert "\n" not in entry.problem
    assert str(tmp_path) not in entry.problem


def test_a_run_is_read_once_and_again_only_after_it_changed(tmp_path: Path) -> None:
    save_run(tmp_path / "run", seconds=3.0)
    store = Store(tmp_path)
    first = store.digest("run")
    assert store.digest("run") is first
    later = (tmp_path / "run" / "manifest.json").stat().st_mtime + 10
    os.utime(tmp_path / "run" / "manifest.json", (later, later))
    assert store.digest("run") is not first


@pytest.mark.parametrize("name", ["nobody", "../elsewhere", "", "."])
def test_only_runs_of_the_folder_are_read(tmp_path: Path, name: str) -> None:
    save_run(tmp_path / "elsewhere", seconds=3.0)
    (tmp_path / "runs").mkdir()
    with pytest.raises(RecordingError, match="must name a run of"):
        Store(tmp_path / "runs").digest(name)


def test_first_shown_are_a_held_out_run_and_the_simulation_at_its_load(tmp_path: Path) -> None:
    for rate in (2_000, 4_000, 6_000):
        save_run(tmp_path / f"measured-{rate}", rate_eps=float(rate), seconds=3.0)
        save_run(tmp_path / f"simulated-{rate}", rate_eps=float(rate), seconds=3.0, source="simulated")
    assert Store(tmp_path).default_pair(("measured-4000",)) == ("measured-4000", "simulated-4000")


def test_without_a_simulation_another_measurement_of_the_nearest_load_is_shown(tmp_path: Path) -> None:
    save_run(tmp_path / "a", rate_eps=2_000.0, seconds=3.0, started_at="2026-03-02T10:00:00+00:00")
    save_run(tmp_path / "b", rate_eps=2_000.0, seconds=3.0)
    save_run(tmp_path / "c", rate_eps=6_000.0, seconds=3.0)
    assert Store(tmp_path).default_pair() == ("a", "b")


def test_a_lone_run_is_compared_with_itself(tmp_path: Path) -> None:
    save_run(tmp_path / "only", seconds=3.0)
    assert Store(tmp_path).default_pair() == ("only", "only")

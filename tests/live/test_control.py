"""One control file, unchanged, acts on a simulated pipeline and then on the live one: rollout, autoscaler, faults."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from live_adapters import measure as measuring
from live_adapters import stack as local_stack
from live_adapters.pipeline.config import RELEASES, RunConfig, configure, write_config
from sentra_sim.cli.control import controlled
from sentra_sim.control.journal import JOURNAL, Entry, read_journal
from sentra_sim.engine import simulate
from sentra_sim.records import Tables, hop_column
from sentra_sim.scenario import Scenario, load_scenario, with_room
from tests.live.controls import AUTOSCALE, FAULTS, ROLLOUT, SCALED_OBJECT, pipeline, release

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("brief_rest")]

SENTRA = Path(__file__).parents[2] / "data" / "scenarios" / "sentra.yaml"
WARMUP_S = 2.0


@dataclass(frozen=True)
class Played:
    """A run under control: its journal, and its tables, which do not tell which plant it was."""

    journal: list[Entry]
    tables: Tables

    def deeds(self) -> list[dict[str, Any]]:
        """What was done, in order."""
        return [entry.detail for entry in self.journal if entry.what == "did"]

    def decisions(self) -> list[str]:
        """What was decided, in order."""
        return [entry.text for entry in self.journal if entry.what == "decided"]

    def looks(self) -> list[tuple[float, dict[str, float]]]:
        """What was seen, with its time."""
        return [(entry.at_s, entry.detail) for entry in self.journal if entry.what == "saw"]

    def standstill_s(self) -> float:
        """The longest time in which the worker began nothing."""
        started = self.tables.frames[hop_column("started")].drop_nulls().sort().to_numpy()
        return float(np.diff(started).max()) / 1e9


@dataclass(frozen=True)
class Plants:
    """Both plants, and where the control file of a test lies."""

    folder: Path

    def both(self, scenario: Scenario, control: str, seconds: float) -> tuple[Played, Played]:
        """Plays one file on the simulated plant, then on the live one."""
        file = self.folder / "control.yaml"
        file.write_text(control, encoding="utf-8")
        return self.simulated(scenario, file, seconds), self.live(scenario, file, seconds)

    def simulated(self, scenario: Scenario, file: Path, seconds: float) -> Played:
        with controlled(file) as control:
            assert control is not None
            wide = with_room(scenario, control.control.most_workers)
            tables, _ = simulate(wide, seconds=seconds, warmup_s=WARMUP_S, seed=1, control=control.simulated)
            return Played(read_journal(control.file), tables)

    def live(self, scenario: Scenario, file: Path, seconds: float) -> Played:
        out = self.folder / "run"
        with controlled(file) as control:
            assert control is not None
            run = measuring.measure(
                scenario,
                rate_eps=None,
                seconds=seconds,
                warmup_s=WARMUP_S,
                seed=1,
                out=out,
                control=control.live,
                attached=[control.file],
            )
        assert (run.manifest.counters["lost"], run.manifest.counters["duplicates"]) == (0, 0)
        return Played(read_journal(out / JOURNAL), run.tables)


@pytest.fixture
def plants(stack: local_stack.Endpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plants:
    """Plants whose pricing also knows a release `late`."""
    shutil.copytree(RELEASES / "stable", tmp_path / "releases" / "stable")
    (tmp_path / "releases" / "late").mkdir()

    def configure_with(*args: Any, **options: Any) -> RunConfig:
        config = replace(configure(*args, **options), releases=tmp_path / "releases")
        write_config(config)
        return config

    monkeypatch.setattr(measuring, "configure", configure_with)
    return Plants(tmp_path)


def scenario_of(plants: Plants, wait_s: float, **options: Any) -> Scenario:
    (plants.folder / "releases" / "late" / "release.yaml").write_text(release(wait_s), encoding="utf-8")
    return pipeline(load_scenario(SENTRA), wait_s=wait_s, **options)


def test_a_late_release_is_taken_back_and_all_is_well_again(plants: Plants) -> None:
    scenario = scenario_of(plants, 2.5, rate_eps=1000.0)
    for played in plants.both(scenario, ROLLOUT, 26.0):
        assert [deed["weights"] for deed in played.deeds()] == [{"stable": 0.5, "late": 0.5}, {"stable": 1.0}]
        assert played.decisions()[-2:] == ["rolled back", "restored"]
        assert played.looks()[-1][1]["e2e_p95_s"] < 1.5
        assert max(look.get("e2e_p95_s", 0.0) for _, look in played.looks()) > 1.5


def test_a_backlog_brings_a_second_worker_and_its_end_sends_it_home(plants: Plants) -> None:
    (plants.folder / "worker.yaml").write_text(SCALED_OBJECT, encoding="utf-8")
    scenario = scenario_of(plants, 1.0, rate_eps=600.0, max_poll_events=400)
    for played in plants.both(scenario, AUTOSCALE, 48.0):
        assert [deed["count"] for deed in played.deeds() if deed["action"] == "SetWorkers"] == [2, 1]
        lag = [look["lag_events"] for _, look in played.looks()]
        workers = [look["workers"] for _, look in played.looks()]
        assert (workers[0], max(workers), workers[-1]) == (1.0, 2.0, 1.0)
        assert max(lag) > 1_650.0
        assert lag[-1] < 500.0


def test_a_killed_worker_is_started_again_and_works_everything_off(plants: Plants) -> None:
    scenario = scenario_of(plants, 1.0, rate_eps=1000.0)
    for played in plants.both(scenario, FAULTS, 17.0):
        assert [deed["action"] for deed in played.deeds()] == ["Kill", "Start"]
        assert 4.0 < played.standstill_s() < 20.0  # as long as it was down, until it owns its partitions again
        frames = played.tables.frames
        delivered = frames.filter(frames[hop_column("delivered")].is_not_null())["events"].sum()
        assert delivered >= 0.95 * 1000.0 * 19.0

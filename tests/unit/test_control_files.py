"""The control files that the live test plays, on a plant made by hand: who acts, when, and what is done in the end."""

from collections.abc import Callable
from pathlib import Path

import simpy

from sentra_sim.control.file import load_control
from sentra_sim.control.journal import Journal
from sentra_sim.control.loop import drive
from sentra_sim.control.plant import Action, Kill, SetWeights, SetWorkers, Start
from tests.live.controls import AUTOSCALE, FAULTS, ROLLOUT, SCALED_OBJECT
from tests.unit.fake_plant import FakePlant

Shown = Callable[[float], dict[str, float]]


def played(folder: Path, text: str, shown: Shown, until_s: float) -> tuple[list[tuple[float, Action]], Journal]:
    file = folder / "control.yaml"
    file.write_text(text, encoding="utf-8")
    (folder / "worker.yaml").write_text(SCALED_OBJECT, encoding="utf-8")
    env, journal = simpy.Environment(), Journal()
    plant = FakePlant(env, shown)
    drive(env, plant, load_control(file).controllers, until_s=until_s, journal=journal)
    return plant.done, journal


def test_a_late_release_is_taken_back_at_its_second_breach(tmp_path: Path) -> None:
    done, journal = played(tmp_path, ROLLOUT, lambda now: {"e2e_p95_s": 2.6 if 7.0 < now < 14.0 else 0.1}, 28.0)
    assert done == [(4.0, SetWeights({"stable": 0.5, "late": 0.5})), (10.0, SetWeights({"stable": 1.0}))]
    assert [entry.text for entry in journal.of("decided")][-2:] == ["rolled back", "restored"]


def test_a_backlog_brings_a_second_worker_and_its_end_sends_it_home(tmp_path: Path) -> None:
    def shown(now: float) -> dict[str, float]:
        return {"lag_events": 2_800.0 if 10.0 < now < 32.0 else 0.0, "partitions": 6.0, "lag_partitions": 6.0}

    done, _ = played(tmp_path, AUTOSCALE, shown, 50.0)
    late, stable = SetWeights({"stable": 0.0, "late": 1.0}), SetWeights({"stable": 1.0})
    assert done == [(3.0, late), (15.0, SetWorkers(2)), (32.0, stable), (45.0, SetWorkers(1))]
    assert load_control(tmp_path / "control.yaml").most_workers == 2


def test_a_worker_is_killed_and_started_again(tmp_path: Path) -> None:
    done, _ = played(tmp_path, FAULTS, lambda _: {}, 19.0)
    assert done == [(3.0, Kill("worker-1")), (7.0, Start("worker-1"))]
    assert load_control(tmp_path / "control.yaml").most_workers == 0

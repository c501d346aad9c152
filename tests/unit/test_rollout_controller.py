"""The rollout controller: two consecutive breaches take a canary back, passes take it up, silence decides nothing."""

from pathlib import Path
from typing import Any

import pytest

from sentra_sim.control.file import load_control
from sentra_sim.control.journal import read_journal
from sentra_sim.control.plant import SetWeights
from sentra_sim.control.rollout import BoundGate, RolloutController, RolloutPolicy
from sentra_sim.errors import InputError
from tests.unit.fake_plant import play

GATES = (BoundGate(metric="e2e_p95_s", max=0.12), BoundGate(metric="error_rate", max=0.005))
WELL, SLOW = {"e2e_p95_s": 0.05, "error_rate": 0.0}, {"e2e_p95_s": 0.2, "error_rate": 0.0}


def policy(**changes: Any) -> RolloutPolicy:
    steps = [{"weight": 0.1, "hold_s": 60.0}, {"weight": 0.5, "hold_s": 60.0}]
    return RolloutPolicy.model_validate({"canary": "next", "steps": steps, "gates": GATES, "start_s": 30.0} | changes)


def weights(share: float) -> SetWeights:
    return SetWeights({"stable": 1.0 - share, "next": share})


def test_a_good_canary_goes_up_the_steps() -> None:
    controller = RolloutController(policy())
    plant, journal = play(controller, lambda _: WELL, 300.0)
    assert plant.done == [(30.0, weights(0.1)), (90.0, weights(0.5)), (150.0, weights(1.0))]
    assert controller.result.outcome == "promoted"
    assert all(entry.detail["window_s"] == 60.0 for entry in journal.of("saw"))


def test_two_breaches_one_after_another_take_it_back_and_the_time_to_restoration_is_told() -> None:
    controller = RolloutController(policy())
    plant, journal = play(controller, lambda now: SLOW if 70.0 < now < 120.0 else WELL, 300.0)
    assert plant.done == [(30.0, weights(0.1)), (90.0, SetWeights({"stable": 1.0}))]
    result = controller.result
    assert (result.outcome, result.first_breach_s, result.rolled_back_s) == ("rolled-back", 75.0, 90.0)
    assert (result.restored_s, result.rollback_s) == (120.0, 45.0)
    assert [entry.text for entry in journal.of("decided")] == ["pass"] * 2 + ["breach"] * 2 + [
        "rolled back",
        "restored",
    ]


def test_one_breach_alone_is_forgiven() -> None:
    controller = RolloutController(policy())
    play(controller, lambda now: SLOW if now in (45.0, 75.0) else WELL, 300.0)
    assert controller.result.outcome == "promoted"


def test_no_data_is_no_pass_and_no_end_of_a_series_of_breaches() -> None:
    controller = RolloutController(policy())
    plant, _ = play(controller, lambda _: {"e2e_p95_s": 0.05}, 300.0)
    assert (plant.done, controller.result.outcome) == ([(30.0, weights(0.1))], "unfinished")
    controller = RolloutController(policy())
    play(controller, lambda now: {60.0: {}, 45.0: SLOW, 75.0: SLOW}.get(now, WELL), 300.0)
    assert controller.result.rolled_back_s == 75.0


CONTROL = """
rollout:
  canary: next
  steps: [{weight: 0.1, hold_s: 60}]
  gates: [{metric: e2e_p95_s, max: 0.12}]
"""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (CONTROL + "  window: 60\n", "control.yaml: rollout.window: unknown key; did you mean 'window_s'?"),
        (
            CONTROL.replace("weight: 0.1", "weight: 1.5"),
            "rollout.steps.0.weight: must be less than or equal to 1, got 1.5",
        ),
        (CONTROL.replace(", max: 0.12", ""), "rollout.gates.0: must set max, min or both"),
        (CONTROL.replace("canary: next", "canary: stable"), "must name a canary beside stable"),
        ("defects: {}\n", "must hold rollout, autoscaler, faults or deploys"),
        ("faults: {timetable: [{at_s: 1, action: kill}]}\n", "must name a process for the action kill"),
        ("autoscaler: none.yaml\n", "none.yaml: cannot be read"),
        ("- 1\n", "must be a mapping"),
        ("rollout: !!python/object:os.system {}\n", "must be YAML"),
    ],
)
def test_a_bad_control_file_gets_one_line(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "control.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_control(file)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_journal_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    _, journal = play(RolloutController(policy()), lambda _: WELL, 100.0)
    assert read_journal(journal.write(tmp_path / "control.jsonl")) == journal.entries
    assert journal.entries[0].detail == {"action": "SetWeights", "weights": {"stable": 0.9, "next": 0.1}}


@pytest.mark.parametrize("name", ["rollout", "autoscale"])
def test_the_control_files_that_come_with_the_lab_can_be_read(name: str) -> None:
    assert load_control(Path(__file__).parents[2] / "data" / "control" / f"{name}.yaml").controllers

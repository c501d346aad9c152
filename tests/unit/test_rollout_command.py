"""`sentra rollout simulate`: a population of releases against the policy of a control file, as a user runs it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sentra_sim.cli import main
from sentra_sim.plan import sweep as module
from sentra_sim.plan.rollouts import RolloutTask, play_chunk
from tests.pipelines import SENTRA

CONTROL = """
rollout:
  canary: next
  steps: [{weight: 0.5, hold_s: 4}]
  gates: [{metric: e2e_p95_s, max: 0.12}]
  start_s: 1
  window_s: 2
  look_every_s: 1
defects:
  next: {station: pricing, factor: 10}
"""


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plays in this process."""

    @contextmanager
    def local(task: RolloutTask, workers: int) -> Iterator[Any]:
        yield lambda chunks: (play_chunk(task, chunk) for chunk in chunks)

    monkeypatch.setattr(module, "_local", local)


def options(tmp_path: Path, text: str = CONTROL) -> list[str]:
    control = tmp_path / "control.yaml"
    control.write_text(text, encoding="utf-8")
    load = ["--rate", "500", "--seconds", "12", "--count", "6", "--bad-share", "0.5", "--factors", "2000:2000"]
    return ["rollout", "simulate", str(SENTRA), "--control", str(control), *load, "-o", str(tmp_path / "rows.jsonl")]


def test_a_policy_is_tried_on_good_and_bad_releases(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*options(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert 0 < found["bad"] < found["rollouts"] == 6
    assert found["missed"]["value"] == found["false_rollbacks"]["value"] == 0.0
    assert found["missed"]["high"] > 0.3  # few rollouts prove little
    assert 0.0 < found["detection_s"]["p50"] < 10.0
    assert found["cpu_s"] > 0.0
    rows = (tmp_path / "rows.jsonl").read_text(encoding="utf-8")
    assert main(options(tmp_path)) == 0  # all played already: the same, for people
    shown = capsys.readouterr().out
    assert (tmp_path / "rows.jsonl").read_text(encoding="utf-8") == rows
    for words in ("missed defects", "false rollbacks", "first weight to rollback", "95 % interval", "CPU a rollout"):
        assert words in shown


@pytest.mark.parametrize(
    ("text", "more", "told"),
    [
        (CONTROL, ["--factors", "0.5"], "--factors: must be two factors above 1 that rise, got '0.5'; write 1.2:10"),
        (CONTROL, ["--bad-share", "2"], "--bad-share: must be from 0 to 1, got 2"),
        (CONTROL, ["--count", "0"], "--count: must be above 0, got 0"),
        (CONTROL.replace("next: {station", "other: {station"), [], "control.yaml.defects: must hold the canary 'next'"),
        (
            CONTROL.replace("station: pricing", "station: princing"),
            [],
            "must be of the scenario, got 'princing'; valid",
        ),
        (
            "faults: {timetable: [{at_s: 1, action: kill, process: worker}]}\n" + CONTROL,
            [],
            "control.yaml: must hold a rollout alone, got faults, rollout; take the others out",
        ),
    ],
)
def test_what_it_cannot_play_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, more: list[str], told: str
) -> None:
    assert main([*options(tmp_path, text), *more]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1

"""A stepped load as a user meets it: one run folder, and each step judged by what it offered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from sentra_sim.cli import main
from sentra_sim.kpi import kpis, step_kpis
from sentra_sim.records import read_run
from sentra_sim.scenario import load_scenario, parse_scenario, scenario_data, scenario_hash, with_load
from sentra_sim.scenario.arrivals import draw_offered

SENTRA = Path(__file__).parents[2] / "data" / "scenarios" / "sentra.yaml"
STEPS = "2000x3,6000x2,4000x2"


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "stepped"
    scenario = edited(folder.parent, {"slo": {"throughput_eps": {"min": 5_000}, "e2e_p95_s": {"max": 0.120}}})
    assert main(["simulate", scenario, "--steps", STEPS, "--warmup", "1", "-o", str(folder), "--json"]) == 0
    return folder


def edited(folder: Path, blocks: dict[str, Any], **load: Any) -> str:
    data = yaml.safe_load(SENTRA.read_text(encoding="utf-8")) | blocks
    data["load"] |= load
    file = folder / "mine.yaml"
    file.write_text(yaml.safe_dump(data), encoding="utf-8")
    return str(file)


def test_the_window_goes_to_the_end_of_the_steps_and_each_is_a_window_of_its_own(run_folder: Path) -> None:
    run = read_run(run_folder)
    assert (run.manifest.warmup_s, run.manifest.seconds) == (1.0, 6.0)
    assert run.manifest.rate_eps == pytest.approx(26_000 / 7)
    found = step_kpis(run)
    assert [(step.rate_eps, step.start_s, step.end_s) for step in found] == [
        (2_000.0, 1.0, 3.0),
        (6_000.0, 3.0, 5.0),
        (4_000.0, 5.0, 7.0),
    ]
    for step in found:
        values = {kpi.name: kpi.value for kpi in step.kpis}
        assert values["throughput_eps"] == pytest.approx(step.rate_eps, rel=0.02)
        assert values["delivered_ratio"] == 1.0


def test_throughput_is_judged_by_step_and_only_where_enough_was_offered(run_folder: Path) -> None:
    run = read_run(run_folder)
    whole = {kpi.name: kpi.verdict for kpi in kpis(run)}
    assert (whole["throughput_eps"], whole["e2e_p95_s"]) == ("by step", "ok")
    verdicts = [{kpi.name: kpi.verdict for kpi in step.kpis}["throughput_eps"] for step in step_kpis(run)]
    assert verdicts[0] == verdicts[2] == "not offered"
    assert verdicts[1] in ("ok", "breach")


def test_a_breach_in_one_step_alone_fails_when_told_to(
    tmp_path: Path, run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["kpi", str(run_folder), "--enforce"]) == 0
    shown = capsys.readouterr().out
    assert "step by step" in shown
    assert "6,000/s 3–5 s" in shown
    slow = edited(tmp_path, {"slo": {"throughput_eps": {"min": 5_000}}})
    data = yaml.safe_load(Path(slow).read_text(encoding="utf-8"))
    data["stations"]["worker"]["process"] = {"event_s": 2.2e-4}  # takes 4,500 events/s
    Path(slow).write_text(yaml.safe_dump(data), encoding="utf-8")
    out = tmp_path / "slow"
    assert main(["simulate", slow, "--steps", STEPS, "--warmup", "1", "-o", str(out)]) == 0
    assert main(["kpi", str(out), "--enforce"]) == 1


def test_steps_are_in_the_json(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["kpi", str(run_folder), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["steps"]
    assert [step["rate_eps"] for step in told] == [2_000.0, 6_000.0, 4_000.0]


def test_steps_can_stand_in_the_scenario_and_both_engines_play_them(tmp_path: Path) -> None:
    steps = [{"rate_eps": 1_000, "seconds": 1}, {"rate_eps": 3_000, "seconds": 1}]
    data = yaml.safe_load(SENTRA.read_text(encoding="utf-8"))
    del data["load"]["rate_eps"]
    data["load"]["steps"] = steps
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(data), encoding="utf-8")
    runs = []
    for engine in ("compiled", "reference"):
        out = tmp_path / engine
        assert main(["simulate", str(file), "--warmup", "0", "--engine", engine, "-o", str(out)]) == 0
        runs.append(read_run(out))
    assert runs[0].tables.events.equals(runs[1].tables.events)
    assert runs[0].tables.events.height == 4_000
    assert runs[0].manifest.load_scenario() == load_scenario(file)


def test_one_rate_takes_the_place_of_steps_and_steps_that_of_one_rate() -> None:
    plain = load_scenario(SENTRA)
    stepped = with_load(plain, steps=[(1_000.0, 2.0), (4_000.0, 1.0)])
    assert stepped.load.rate_eps == 2_000.0
    assert parse_scenario(scenario_data(stepped)) == stepped
    assert with_load(stepped, arrivals="poisson").load.steps == stepped.load.steps
    assert with_load(stepped, rate_eps=plain.load.rate_eps) == plain
    assert scenario_hash(stepped) != scenario_hash(with_load(plain, rate_eps=2_000.0))
    assert "steps" not in scenario_data(plain)["load"]


def test_a_step_within_the_warm_up_is_left_out(tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = ["simulate", str(SENTRA), "--steps", "2000x1,4000x2", "--warmup", "1", "-o", str(out), "--json"]
    assert main(command) == 0
    (only,) = step_kpis(read_run(out))
    assert (only.rate_eps, only.start_s, only.end_s) == (4_000.0, 1.0, 3.0)


def test_every_seed_has_the_same_events_in_run_and_draw(run_folder: Path) -> None:
    run = read_run(run_folder)
    offered = draw_offered(run.manifest.load_scenario().load, 7.0, run.manifest.seed)
    assert run.tables.events.height == len(offered.keys) == 26_000


@pytest.mark.parametrize(
    ("load", "line"),
    [
        (
            {"rate_eps": 5, "steps": [{"rate_eps": 10, "seconds": 1}]},
            "mine.yaml: load: must leave out rate_eps beside steps, whose mean is 10, got ",
        ),
        (
            {"steps": [{"rate_eps": -1, "seconds": 1}]},
            "mine.yaml: load.steps.0.rate_eps: must be greater than 0, got -1; write a positive number",
        ),
        ({"steps": [{"rate_eps": 1, "second": 1}]}, "load.steps.0.second: unknown key; did you mean 'seconds'?"),
        ({"steps": [{"rate_eps": 1}]}, "mine.yaml: load.steps.0.seconds: missing; add it"),
    ],
)
def test_wrong_steps_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], load: dict[str, Any], line: str
) -> None:
    assert main(["simulate", edited(tmp_path, {}, **load), "-o", str(tmp_path / "out")]) == 2
    assert line in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--steps", "2000"], "--steps: must be RATExSECONDS, separated by commas, got '2000'"),
        (["--steps", "2000x5,"], "--steps: must be RATExSECONDS"),
        (["--steps", "2000x0"], "load.steps.0.seconds: must be greater than 0, got 0.0"),
        (["--steps", "2000x5", "--rate", "9"], "not allowed with argument"),
        (["--steps", "2000x5", "--warmup", "5"], "--warmup: must be shorter than the steps' 5 s, got 5"),
    ],
)
def test_wrong_options_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], line: str
) -> None:
    assert main(["simulate", str(SENTRA), "-o", str(tmp_path / "out"), *options]) == 2
    assert line in capsys.readouterr().err

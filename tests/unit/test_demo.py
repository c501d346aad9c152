"""What the demo measures again, and what it leaves: a spoilt run is repeated once, the held-out load's first, and not for ever."""

from pathlib import Path
from typing import Any

import pytest

from sentra_sim.cli import demo
from sentra_sim.records import read_manifest, write_run
from sentra_sim.scenario import Scenario, load_scenario, scenario_hash, with_load
from tests.builders import SCENARIO, make_run

PROTOCOL = demo.Protocol(trained_eps=(2_000.0, 4_000.0), held_out_eps=3_000.0, repeats=2, seconds=2.0, retries=3)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, int]]:
    """Stands for the pipeline: every run is spoilt the first time; returns what was measured, in order."""
    order: list[tuple[float, int]] = []

    def measure(scenario: Scenario, load: demo.Load, out: Path, *_: Any) -> None:
        again = (load.rate_eps, load.repeat) in order
        order.append((load.rate_eps, load.repeat))
        run = make_run(out, rate_eps=load.rate_eps, seconds=PROTOCOL.seconds, valid=again)
        digest = scenario_hash(with_load(scenario, rate_eps=load.rate_eps))
        write_run(out, run.tables, run.manifest.model_copy(update={"scenario_hash": digest}), replace=True)

    monkeypatch.setattr(demo, "measure_load", measure)
    monkeypatch.setattr(demo, "warm_stack", lambda *_: None)
    return order


def test_spoilt_runs_are_repeated_once_the_held_out_loads_first_and_no_more_than_time_allows(
    tmp_path: Path, measured: list[tuple[float, int]]
) -> None:
    runs = demo._measure_missing(load_scenario(SCENARIO), tmp_path, PROTOCOL)
    first, again = measured[:6], measured[6:]
    assert sorted(first) == sorted((load.rate_eps, load.repeat) for load in runs)
    assert len(again) == PROTOCOL.retries
    assert sorted(again[:2]) == [(3_000.0, 1), (3_000.0, 2)]
    assert [read_manifest(tmp_path / load.folder).validity.valid for load in runs].count(True) == PROTOCOL.retries


def test_a_second_demo_measures_only_what_is_still_spoilt(tmp_path: Path, measured: list[tuple[float, int]]) -> None:
    scenario = load_scenario(SCENARIO)
    demo._measure_missing(scenario, tmp_path, PROTOCOL)
    measured_before = len(measured)
    demo._measure_missing(scenario, tmp_path, PROTOCOL)
    assert len(measured) == measured_before + 6 - PROTOCOL.retries
    demo._measure_missing(scenario, tmp_path, PROTOCOL)
    assert len(measured) == measured_before + 6 - PROTOCOL.retries

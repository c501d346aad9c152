"""One controller, read from one file, takes a bad release back from the live pipeline as it does from a simulated one."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from live_adapters import measure as measuring
from live_adapters import stack as local_stack
from live_adapters.pipeline.config import RELEASES, RunConfig, configure, write_config
from sentra_sim.cli.control import controlled
from sentra_sim.control.journal import JOURNAL, Entry, read_journal
from sentra_sim.engine import simulate
from sentra_sim.scenario import Scenario, load_scenario, with_load

pytestmark = pytest.mark.live

SENTRA = Path(__file__).parents[2] / "data" / "scenarios" / "sentra.yaml"
SECONDS, WARMUP_S = 45.0, 2.0
LATE = """
schema_version: 1
name: late
version: 1.0.0
description: every request waits much too long
change: {kind: lag, wait_s: 2.5}
"""
CONTROL = """
rollout:
  canary: late
  start_s: 8
  steps: [{weight: 0.5, hold_s: 45}]
  gates: [{metric: e2e_p95_s, max: 1.5}]
  window_s: 3
  look_every_s: 2
defects:
  late: {station: pricing, factor: 10000}
"""


def acts(journal: list[Entry]) -> list[Any]:
    """What was done and decided in the end, without the looks between."""
    deeds = [entry.detail["weights"] for entry in journal if entry.what == "did"]
    return deeds + [
        entry.text for entry in journal if entry.what == "decided" and entry.text in ("rolled back", "restored")
    ]


def simulated(scenario: Scenario, file: Path) -> list[Entry]:
    with controlled(file) as control:
        assert control is not None
        simulate(scenario, seconds=SECONDS, warmup_s=WARMUP_S, seed=1, control=control.simulated)
        return read_journal(control.file)


def measured(scenario: Scenario, file: Path, out: Path) -> list[Entry]:
    with controlled(file) as control:
        assert control is not None
        run = measuring.measure(
            scenario,
            rate_eps=None,
            seconds=SECONDS,
            warmup_s=WARMUP_S,
            seed=1,
            out=out,
            control=control.live,
            attached=[control.file],
        )
    assert (run.manifest.counters["lost"], run.manifest.counters["duplicates"]) == (0, 0)
    return read_journal(out / JOURNAL)


def test_a_late_release_is_taken_back_from_both_plants(
    stack: local_stack.Endpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    releases, file = tmp_path / "releases", tmp_path / "control.yaml"
    shutil.copytree(RELEASES / "stable", releases / "stable")
    (releases / "late").mkdir()
    (releases / "late" / "release.yaml").write_text(LATE, encoding="utf-8")
    file.write_text(CONTROL, encoding="utf-8")

    def configure_with(*args: Any, **options: Any) -> RunConfig:
        config = replace(configure(*args, **options), releases=releases)
        write_config(config)
        return config

    monkeypatch.setattr(measuring, "configure", configure_with)
    scenario = with_load(load_scenario(SENTRA), rate_eps=1_000.0)

    expected = [{"stable": 0.5, "late": 0.5}, {"stable": 1.0}, "rolled back", "restored"]
    assert acts(simulated(scenario, file)) == expected
    live = measured(scenario, file, tmp_path / "run")
    # How soon all is well again depends on how fast the machine works the backlog off: not held here.
    assert acts(live)[:3] == expected[:3]
    shown = [entry.detail for entry in live if entry.what == "saw"]
    assert all(look["throughput_eps"] > 0.0 for look in shown)
    assert {"lag_events", "lag_s", "workers", "staleness_p95_s"} <= shown[-1].keys()

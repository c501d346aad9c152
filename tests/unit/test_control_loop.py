"""The same controllers in simulated and in real time; a live plant's metrics off its hop logs."""

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import simpy

from live_adapters.passing import Passing
from live_adapters.pipeline import hoplog
from live_adapters.pipeline.config import RunConfig
from sentra_sim.cli import main
from sentra_sim.control.faults import FaultInjector, FaultPlan
from sentra_sim.control.journal import JOURNAL, Journal, read_journal
from sentra_sim.control.loop import drive_real
from sentra_sim.control.plant import Pause, Resume
from sentra_sim.errors import PlantError
from sentra_sim.scenario import load_scenario
from tests.pipelines import SENTRA
from tests.unit.fake_plant import FakePlant

MS = 1_000_000


def pause_of(process: str, at_s: float) -> FaultInjector:
    timetable = [{"at_s": at_s, "action": "pause", "process": process, "for_s": 0.2}]
    return FaultInjector(FaultPlan.model_validate({"timetable": timetable}))


def test_in_real_time_an_action_comes_at_its_time_of_the_load_and_the_pipeline_is_looked_after() -> None:
    env, journal, kept = simpy.Environment(), Journal(), []
    plant = FakePlant(env, lambda _: {})
    begun = time.monotonic()

    def keep() -> bool:
        kept.append(time.monotonic() - begun)
        return len(kept) < 5

    drive_real(plant, [pause_of("redis", 10.3)], elapsed_s=10.0, until_s=60.0, journal=journal, keep=keep)
    took_s = time.monotonic() - begun
    assert [action for _, action in plant.done] == [Pause("redis"), Resume("redis")]
    assert [entry.at_s for entry in journal.of("did")] == [10.3, 10.5]
    assert 0.75 < took_s < 5.0  # five looks, four gaps; the load ended before until_s
    assert len(kept) == 5


def test_a_process_that_dies_ends_the_control_too() -> None:
    plant = FakePlant(simpy.Environment(), lambda _: {})

    def keep() -> bool:
        raise PlantError("worker-1: must run to the end of the run, got signal SIGKILL")

    with pytest.raises(PlantError, match="worker-1"):
        drive_real(plant, [pause_of("redis", 5.0)], elapsed_s=0.0, until_s=60.0, journal=Journal(), keep=keep)


def write(scratch: Path, log: tuple[str, str, Any], rows: list[tuple[int, ...]]) -> None:
    hop_log = hoplog.HopLog(scratch, *log)
    hop_log.append(np.array(rows, dtype=log[2]))
    hop_log.close()


def test_a_live_plant_shows_what_its_hop_logs_hold(tmp_path: Path) -> None:
    config = cast(RunConfig, SimpleNamespace(scratch=tmp_path, scenario=load_scenario(SENTRA), partitions=6))
    passing, now = Passing(config), time.monotonic_ns()
    done, waiting = 2 << 40 | 1, 3 << 40 | 1
    at = now - 500 * MS
    write(tmp_path, hoplog.GATEWAY_INTENDED, [(done, at - 20 * MS), (done, at - 10 * MS), (waiting, at)])
    frames = [(done, 2, 2, at - 9 * MS, at - 8 * MS, at - 7 * MS), (waiting, 3, 1, at, at, at + 100 * MS)]
    write(tmp_path, hoplog.GATEWAY_FRAMES, frames)
    write(tmp_path, hoplog.WORKER_FRAMES, [(done, 1, 2, 0, at, at + MS, at + 2 * MS, at + 3 * MS)])
    for log in (hoplog.FANOUT_SENT, hoplog.SUBSCRIBER_DELIVERED, hoplog.CLICKHOUSE_VISIBLE):
        write(tmp_path, log, [(done, 2, at + 10 * MS)])
    jobs = [
        (at, False, 8, False, 0, 0, 0, 2 * MS),
        (at, True, 2, False, 0, 0, 0, 9 * MS),
        (at, True, 2, True, 0, 0, 0, 9 * MS),
    ]
    write(tmp_path, hoplog.PRICING_RELEASES, cast(list[tuple[int, ...]], jobs))

    shown = passing.metrics(4.0)
    assert (shown["acked_eps"], shown["throughput_eps"], shown["clickhouse_eps"]) == (0.75, 0.5, 0.5)
    assert shown["e2e_p50_s"] == pytest.approx(0.025)  # of 30 and 20 ms
    assert shown["staleness_p95_s"] == pytest.approx(0.010)
    assert (shown["lag_events"], shown["lag_partitions"], shown["partitions"]) == (1.0, 1.0, 6.0)
    assert 0.4 <= shown["lag_s"] < 5.0
    assert (shown["canary.error_rate"], shown["stable.error_rate"]) == (0.5, 0.0)
    assert shown["canary.job_p95_s"] == pytest.approx(0.009)
    time.sleep(0.3)
    later = passing.metrics(0.2)
    assert "e2e_p50_s" not in later
    assert later["throughput_eps"] == 0.0
    with pytest.raises(PlantError, match="window_s must be above 0"):
        passing.metrics(0.0)


def test_a_simulated_run_under_control_keeps_its_journal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    control = tmp_path / "control.yaml"
    control.write_text(
        "faults: {timetable: [{at_s: 1, action: burden, station: pricing, factor: 3, for_s: 1}]}\n", encoding="utf-8"
    )
    run = tmp_path / "run"
    options = ["--rate", "500", "--seconds", "3", "--warmup", "1", "--control", str(control), "-o", str(run), "--json"]
    assert main(["simulate", str(SENTRA), *options]) == 0
    json.loads(capsys.readouterr().out)
    did = [(entry.at_s, entry.detail["factor"]) for entry in read_journal(run / JOURNAL)]
    assert did == [(1.0, 3.0), (2.0, 1.0)]
    control.write_text("rolout: {}\n", encoding="utf-8")
    assert main(["simulate", str(SENTRA), *options, "--replace"]) == 2
    assert "control.yaml: rolout: unknown key; did you mean 'rollout'?" in capsys.readouterr().err

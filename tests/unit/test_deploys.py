"""A rolling restart as a timetable, what it does to a group, and what a scenario is told that has too many consumers."""

from pathlib import Path

import numpy as np
import pytest

from sentra_sim.control.checks import check_control, check_live
from sentra_sim.control.file import Control, load_control
from sentra_sim.control.loop import drive_simulated
from sentra_sim.engine import Change, prepare, run, start
from sentra_sim.engine.deploys import rolling_restart
from sentra_sim.engine.trace import EVENT_SHED, OK
from sentra_sim.errors import InputError
from sentra_sim.scenario.advice import advice
from tests.pipelines import bare, hop_times, sentra

FIVE = {"stations.group.replicas": 5, "stations.group.ready_s": 0.5, "stations.log.partitions": 5}


def test_at_most_so_many_consumers_are_down_at_a_time() -> None:
    timetable = rolling_restart(bare(FIVE), at_s=1.0, drain_s=2.0, max_unavailable=2, settle_s=0.5)
    assert [change for change in timetable if change.operation == "start"] == [
        Change(3.0, "start", "group-1"),
        Change(3.0, "start", "group-2"),
        Change(6.0, "start", "group-3"),
        Change(6.0, "start", "group-4"),
        Change(9.0, "start", "group-5"),
    ]
    down = most = 0
    for change in timetable:
        down += {"stop": 1, "kill": 0, "start": -1}[change.operation]
        most = max(most, down)
    assert most == 2


def test_a_rolling_restart_loses_nothing_and_takes_no_poll_twice_when_there_is_time_to_drain() -> None:
    keys = {
        "load.rate_eps": 600.0,
        "stations.log.partitions": 6,
        "stations.group.replicas": 3,
        "stations.group.process": {"job_s": 0.02},
        "stations.group.heartbeat_s": 0.05,
        "stations.group.session_timeout_s": 0.3,  # for so long nobody polls what a consumer had that was killed
        "stations.group.ready_s": 0.1,
        "stations.group.join_s": 0.01,
    }
    scenario = bare(keys)
    plan = prepare(scenario, seconds=3.0, seed=1)
    graceful = run(plan, changes=rolling_restart(scenario, at_s=0.5, drain_s=0.2))
    hasty = run(plan, changes=rolling_restart(scenario, at_s=0.5, drain_s=0.0))
    for trace in (graceful, hasty):
        assert np.isfinite(hop_times(scenario, trace, "started")).all()
    assert (graceful.attempts == 1).all()
    assert (hasty.attempts > 1).any()


def test_a_timetable_that_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match="max_unavailable must be >= 1, got 0"):
        rolling_restart(bare(), at_s=0.0, drain_s=1.0, max_unavailable=0)
    with pytest.raises(InputError, match="drain_s must be >= 0, got -1"):
        rolling_restart(bare(), at_s=0.0, drain_s=-1.0)


STATIONS = {
    "stations.batcher.recovery": {"restart_s": 0.2},
    "stations.group.calls": ["store"],
    "stations.store": {
        "kind": "store",
        "host": "ample",
        "hop": "stored",
        "recovery": {"restart_s": 0.1},
        "to": ["edge"],
    },
    "stations.edge": {
        "kind": "broadcast",
        "host": "ample",
        "subscriber_host": "ample",
        "subscribers": {"count": 10},
        "recovery": {"restart_s": 0.3},
    },
}


def test_stations_restart_one_after_another_and_an_edge_without_a_drain() -> None:
    timetable = rolling_restart(bare(STATIONS), of=["batcher", "store", "edge"], at_s=1.0, drain_s=0.5, settle_s=0.1)
    assert [(round(at_s, 9), operation, subject) for at_s, operation, subject, _ in timetable] == [
        (1.0, "stop", "batcher"),
        (1.5, "kill", "batcher"),
        (1.5, "start", "batcher"),
        (1.8, "stop", "store"),
        (2.3, "kill", "store"),
        (2.3, "start", "store"),
        (2.5, "kill", "edge"),
        (2.5, "start", "edge"),
    ]


@pytest.mark.parametrize("engine", ["reference", "compiled"])
def test_a_rolling_restart_of_all_that_can_be_restarted_loses_nothing_that_clients_try_again(engine: str) -> None:
    retry = {"timeout_s": 0.3, "retries": 20, "backoff": {"mean_s": 0.05}}
    scenario = bare(STATIONS | {"load.rate_eps": 200.0, "stations.source.retry": retry, "stations.group.replicas": 1})
    changes = rolling_restart(scenario, of=["batcher", "group", "store", "edge"], at_s=0.5, drain_s=0.2)
    trace = run(prepare(scenario, seconds=4.0, seed=1), engine=engine, changes=changes)
    assert (trace.frame >= 0).all()
    assert (trace.outcome == OK).all()
    assert (trace.sends > 1).sum() == pytest.approx(0.4 * 200.0, abs=2)  # of the drain and the start
    received = hop_times(scenario, trace, "received")
    assert not ((received > 0.501) & (received < 0.9)).any()


def test_only_what_can_be_restarted_is() -> None:
    with pytest.raises(
        InputError, match=r"of must be of the consumer group or of stations with recovery, got 'stor'.*'store'"
    ):
        rolling_restart(bare(STATIONS), of="stor", at_s=0.0, drain_s=1.0)


CONTROL = """
deploys:
  - {of: [batcher, group], at_s: 0.5, drain_s: 0.2, settle_s: 0.1}
faults:
  timetable: [{at_s: 2.0, action: stop, process: batcher, for_s: 0.5}]
"""


def control(folder: Path, text: str) -> Control:
    file = folder / "control.yaml"
    file.write_text(text, encoding="utf-8")
    return load_control(file)


def test_a_control_file_restarts_a_simulated_pipeline(tmp_path: Path) -> None:
    scenario = bare(STATIONS | {"load.rate_eps": 200.0})
    read = control(tmp_path, CONTROL)
    assert check_control(read, scenario, seconds=3.0) == []
    assert "deploys.0: should end within the run's 1 s" in "".join(check_control(read, scenario, seconds=1.0))
    plan = prepare(scenario, seconds=3.0, seed=1)
    simulation = start(plan, engine="reference")
    journal = drive_simulated(simulation, plan, read.of_simulation(scenario))
    done = [(round(entry.at_s, 9), entry.detail["action"], entry.detail["process"]) for entry in journal.of("did")]
    assert done == [
        (0.5, "Stop", "batcher"),
        (0.7, "Kill", "batcher"),
        (0.7, "Start", "batcher"),
        (1.0, "Stop", "group-1"),
        (1.2, "Kill", "group-1"),
        (1.2, "Start", "group-1"),
        (2.0, "Stop", "batcher"),
        (2.5, "Start", "batcher"),
    ]
    refused = np.flatnonzero(simulation.trace().frame == EVENT_SHED)
    np.testing.assert_array_equal(refused, [*range(100, 180), *range(400, 540)])  # of 200 a second


def test_a_control_file_names_what_it_cannot_restart_and_a_real_run_refuses_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"control.yaml: deploys.0: of must be of the consumer group .* got 'pricing'"):
        check_control(control(tmp_path, "deploys: [{of: [pricing], at_s: 1.0}]"), bare(STATIONS), seconds=3.0)
    with pytest.raises(InputError, match=r"control.yaml: deploys: must be of a simulation.*sentra chaos"):
        check_live(control(tmp_path, CONTROL), bare(STATIONS))
    stop = "faults: {timetable: [{at_s: 2.0, action: stop, process: worker-1}]}"
    with pytest.raises(InputError, match=r"control.yaml: faults.timetable.0.action: must be of a simulation"):
        check_live(control(tmp_path, stop), bare(STATIONS))
    check_live(control(tmp_path, "faults: {timetable: [{at_s: 2.0, action: kill, process: worker-1}]}"), bare(STATIONS))


def test_a_scenario_is_told_of_consumers_without_a_partition() -> None:
    assert advice(sentra()) == ()
    assert advice(sentra({"stations.worker.replicas": 8})) == (
        "stations.worker.replicas: should be <= the log's partitions (6), got 8; "
        "2 of the consumers would be idle: add partitions or lower it",
    )
    assert "three times heartbeat_s" in advice(sentra({"stations.worker.session_timeout_s": 5.0}))[0]

"""A rolling restart as a timetable, what it does to a group, and what a scenario is told that has too many consumers."""

import numpy as np
import pytest

from sentra_sim.engine import Change, prepare, run
from sentra_sim.engine.deploys import rolling_restart
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


def test_a_scenario_is_told_of_consumers_without_a_partition() -> None:
    assert advice(sentra()) == ()
    assert advice(sentra({"stations.worker.replicas": 8})) == (
        "stations.worker.replicas: should be <= the log's partitions (6), got 8; "
        "2 of the consumers would be idle: add partitions or lower it",
    )
    assert "three times heartbeat_s" in advice(sentra({"stations.worker.session_timeout_s": 5.0}))[0]

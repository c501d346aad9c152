"""Workers of a running pipeline: who is started and who is stopped, and that all of them count as one station."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from live_adapters.pipeline.hoplog import JOBS, HopLog, read_log
from live_adapters.pipeline.scaling import pids_by_station, set_workers
from sentra_sim.errors import InputError


class FakeSupervisor:
    def __init__(self, *names: str) -> None:
        self.running = dict.fromkeys(names, 1)
        self.stopped: list[str] = []

    def pids(self) -> dict[str, int]:
        return self.running

    def start(self, modules: dict[str, str], *, restarts: dict[str, int]) -> None:
        assert set(modules.values()) == {"live_adapters.pipeline.worker"}
        assert modules.keys() == restarts.keys()
        self.running |= dict.fromkeys(modules, 1)

    def stop(self, name: str) -> None:
        del self.running[name]
        self.stopped.append(name)


@pytest.mark.parametrize(
    ("running", "count", "then"),
    [
        (["worker-1"], 3, ["worker-1", "worker-2", "worker-3"]),
        (["worker-1", "worker-3"], 3, ["worker-1", "worker-2", "worker-3"]),  # the second had died
        (["worker-2", "worker-10", "worker-1"], 2, ["worker-1", "worker-2"]),
        (["worker"], 2, ["worker", "worker-1"]),
        (["worker-1"], 1, ["worker-1"]),
    ],
)
def test_workers_are_started_and_stopped_until_so_many_run(running: list[str], count: int, then: list[str]) -> None:
    supervisor: Any = FakeSupervisor("gateway", *running)
    set_workers(supervisor, count, most=6)
    assert sorted(supervisor.running) == ["gateway", *then]


@pytest.mark.parametrize("count", [0, 7])
def test_more_workers_than_partitions_are_refused(count: int) -> None:
    supervisor: Any = FakeSupervisor("worker-1")
    with pytest.raises(
        InputError, match=f"workers: must be from 1 to 6, one a partition at most, got {count}; add part"
    ):
        set_workers(supervisor, count, most=6)
    assert supervisor.running == {"worker-1": 1}


def test_replicas_of_the_worker_are_one_station_and_brokers_are_not() -> None:
    pids = {"kafka-1": 1, "kafka-2": 2, "worker-1": 3, "worker-12": 4, "gateway": 5}
    assert pids_by_station(pids) == {"kafka-1": [1], "kafka-2": [2], "worker": [3, 4], "gateway": [5]}


def test_the_logs_of_all_replicas_are_read_as_one(tmp_path: Path) -> None:
    for number, name in enumerate(["worker", "worker-1", "worker-2", "worker-10", "other-1"]):
        rows = np.zeros(2, dtype=JOBS)
        rows["events"] = number
        log = HopLog(tmp_path, name, "jobs", JOBS)
        log.append(rows)
        log.close()
    assert read_log(tmp_path, "worker", "jobs", JOBS)["events"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert read_log(tmp_path, "worker-1", "jobs", JOBS)["events"].tolist() == [1, 1]

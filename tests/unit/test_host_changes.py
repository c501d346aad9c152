"""What happens to processes and hosts while they work: stopped, restarted, slowed, down; on pipelines to follow with a pencil."""

from typing import Any

import numpy as np
import pytest

from sentra_sim.engine import Change, Trace, prepare, run
from sentra_sim.errors import InputError
from sentra_sim.scenario import Scenario, processes
from tests.pipelines import bare, hop_times

MS = 1e-3
ONE_JOB = {  # one event, at 0, of 10 ms in a pool of one thread on a host with one core
    "load.rate_eps": 10.0,
    "stations.group.calls": ["pool"],
    "stations.pool": {"kind": "pool", "host": "box", "hop": "priced", "demand": {"job_s": 10 * MS}},
}


@pytest.fixture(params=["compiled", "reference"])
def engine(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(params=["fifo-slice", "ps"])
def discipline(request: pytest.FixtureRequest) -> Any:
    return request.param


def play(scenario: Scenario, engine: Any, *changes: Change, seconds: float = 0.1) -> Trace:
    return run(prepare(scenario, seconds=seconds, seed=1), engine=engine, changes=changes)


def done_s(scenario: Scenario, trace: Trace, hop: str = "priced") -> list[float]:
    return hop_times(scenario, trace, hop).tolist()


def busy_s(scenario: Scenario, trace: Trace) -> dict[str, float]:
    return dict(zip(processes(scenario), trace.cpu_s.sum(axis=1), strict=True))


def close_to(*times_s: float) -> Any:
    return pytest.approx(list(times_s), abs=1e-9)


def test_a_paused_process_goes_on_where_it_stood(engine: Any, discipline: Any) -> None:
    """4 of 10 ms are done when it stops for 30 ms: the job ends at 40 ms, and has used 10 ms of CPU."""
    scenario = bare(ONE_JOB | {"hosts.box.discipline": discipline})
    trace = play(scenario, engine, Change(4 * MS, "pause", "pool"), Change(34 * MS, "resume", "pool"))
    assert done_s(scenario, trace) == close_to(40 * MS)
    assert busy_s(scenario, trace)["pool"] == pytest.approx(10 * MS)


def test_jobs_that_come_to_a_paused_process_wait(engine: Any, discipline: Any) -> None:
    scenario = bare(ONE_JOB | {"hosts.box.discipline": discipline, "load.rate_eps": 100.0})
    pause = Change(0.0, "pause", "pool"), Change(25 * MS, "resume", "pool")
    trace = play(scenario, engine, *pause, seconds=0.02)
    assert done_s(scenario, trace) == close_to(35 * MS, 45 * MS)


def test_a_second_signal_changes_nothing(engine: Any) -> None:
    scenario = bare(ONE_JOB)
    twice = [Change(at_s, "pause", "pool") for at_s in (4 * MS, 5 * MS)]
    trace = play(scenario, engine, *twice, *(Change(at_s, "resume", "pool") for at_s in (34 * MS, 35 * MS)))
    assert done_s(scenario, trace) == close_to(40 * MS)


def test_a_paused_process_leaves_its_core_to_others(engine: Any, discipline: Any) -> None:
    """Pool and store, 10 ms each at the same time on one core: with the pool stopped the store has the core for itself."""
    rival = {"kind": "store", "host": "box", "hop": "stored", "demand": {"job_s": 10 * MS}}
    scenario = bare(
        {
            "load.rate_eps": 10.0,
            "stations.group.calls": ["first"],
            "stations.first": {"kind": "pool", "host": "ample", "hop": "first", "to": ["pool", "store"]},
            "stations.pool": ONE_JOB["stations.pool"],
            "stations.store": rival,
            "hosts.box.discipline": discipline,
        }
    )
    together = play(scenario, engine)
    stopped = play(scenario, engine, Change(0.0, "pause", "pool"), Change(50 * MS, "resume", "pool"))
    assert done_s(scenario, together, "stored")[0] > 18 * MS
    assert done_s(scenario, stopped, "stored") == close_to(10 * MS)
    assert done_s(scenario, stopped) == close_to(60 * MS)


def test_one_replica_is_paused_by_its_number(engine: Any) -> None:
    changes = {"load.rate_eps": 100.0, "stations.group.replicas": 2, "stations.log.partitions": 2}
    scenario = bare(changes | {"stations.group.process": {"job_s": MS}, "stations.group.finish": {"job_s": MS}})
    trace = play(scenario, engine, Change(50 * MS, "pause", "group-2"), seconds=0.2)
    late = hop_times(scenario, trace, "acked") > 51 * MS
    started = hop_times(scenario, trace, "started")
    assert np.isfinite(started[late & (trace.partition == 0)]).all()
    assert np.isnan(started[late & (trace.partition == 1)]).all()
    assert (late & (trace.partition == 1)).any()


def test_a_restarted_process_begins_its_job_anew(engine: Any, discipline: Any) -> None:
    """The 4 ms that were done are lost, but not unpaid."""
    scenario = bare(ONE_JOB | {"hosts.box.discipline": discipline})
    trace = play(scenario, engine, Change(4 * MS, "restart", "pool"))
    assert done_s(scenario, trace) == close_to(14 * MS)
    assert busy_s(scenario, trace)["pool"] == pytest.approx(14 * MS)


def test_a_restarted_process_is_cold(engine: Any) -> None:
    """The job after the restart pays the whole cold term of 10 ms again, the one before nearly nothing."""
    demand = {"job_s": MS, "cold_s": 10 * MS, "cold_tau_s": 100.0}
    scenario = bare(ONE_JOB | {"stations.pool.demand": demand})
    trace = play(scenario, engine, Change(150 * MS, "restart", "pool"), seconds=0.3)
    waits_s = hop_times(scenario, trace, "priced") - hop_times(scenario, trace, "received")
    assert waits_s == pytest.approx([11 * MS, MS, 11 * MS], abs=0.02 * MS)


def test_another_speed_holds_for_the_job_under_way(engine: Any, discipline: Any) -> None:
    """After 4 of 10 ms the core runs at half its speed for 6 ms, then at twice: 4 + 6 + 1.5 ms."""
    scenario = bare(ONE_JOB | {"hosts.box.discipline": discipline})
    trace = play(scenario, engine, Change(4 * MS, "speed", "box", 0.5), Change(10 * MS, "speed", "box", 2.0))
    assert done_s(scenario, trace) == close_to(11.5 * MS)
    assert busy_s(scenario, trace)["pool"] == pytest.approx(11.5 * MS)


def test_a_host_that_was_down_begins_its_jobs_anew(engine: Any, discipline: Any) -> None:
    scenario = bare(ONE_JOB | {"hosts.box.discipline": discipline})
    trace = play(scenario, engine, Change(4 * MS, "host-down", "box"), Change(50 * MS, "host-up", "box"))
    assert done_s(scenario, trace) == close_to(60 * MS)
    assert busy_s(scenario, trace)["pool"] == pytest.approx(14 * MS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (Change(0.0, "pause", "wokrer"), "pause: must be of a process, got 'wokrer'; valid names: source, .*group-1"),
        (Change(0.0, "host-down", "cellar"), "host-down: must be of a host, got 'cellar'; valid names: ample, box"),
        (Change(0.0, "speed", "box", 0.0), "speed: box: must be a factor > 0, got 0.0; a host that does nothing"),
    ],
)
def test_a_change_of_what_is_not_there_is_refused(engine: Any, change: Change, message: str) -> None:
    with pytest.raises(InputError, match=message):
        play(bare(), engine, change)

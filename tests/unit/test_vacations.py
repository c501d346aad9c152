"""Pauses, limits on CPU, warm-up and neighbours: what each does to a pipeline small enough to follow with a pencil."""

import math
from typing import Any

import numpy as np
import pytest

from sentra_sim.engine import Change, Trace, prepare, run
from sentra_sim.errors import ScenarioError
from sentra_sim.scenario import Scenario, parse_scenario, processes, scenario_data, scenario_hash
from tests.pipelines import bare, hop_times

MS = 1e-3


def pool(job_s: float, **settings: Any) -> dict[str, Any]:
    """One event each 100 ms for a pool on a host with one core; the consumers do not wait for it."""
    station = {"kind": "pool", "host": "box", "hop": "priced", "demand": {"job_s": job_s}}
    return {
        "load.rate_eps": 10.0,
        "stations.group.max_poll_events": 1,
        "stations.group.calls": ["split"],
        "stations.split": {"kind": "pool", "host": "ample", "hop": "split", "to": ["pool"]},
        "stations.pool": station | settings,
    }


def every(gap_s: float, length_s: float) -> list[dict[str, Any]]:
    return [{"gap": {"mean_s": gap_s}, "length": {"mean_s": length_s}}]


@pytest.fixture(params=["compiled", "reference"])
def engine(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(params=["fifo-slice", "ps"])
def discipline(request: pytest.FixtureRequest) -> Any:
    return {"hosts.box.discipline": request.param}


def play(scenario: Scenario, engine: Any, *changes: Change, seconds: float = 0.1) -> Trace:
    return run(prepare(scenario, seconds=seconds, seed=1), engine=engine, changes=changes)


def waits_s(scenario: Scenario, trace: Trace) -> np.ndarray:
    return hop_times(scenario, trace, "priced") - hop_times(scenario, trace, "received")


def busy_s(scenario: Scenario, trace: Trace) -> dict[str, float]:
    return dict(zip(processes(scenario), trace.cpu_s.sum(axis=1), strict=True))


def test_a_collection_stops_the_process_and_not_its_neighbours(engine: Any, discipline: Any) -> None:
    """From 4 to 34 ms nothing of the pool runs, so its 10 ms last 40; another store on the host is done in time."""
    store = {"kind": "store", "host": "box", "hop": "stored", "demand": {"job_s": 10 * MS}}
    scenario = bare(pool(10 * MS, pauses=every(4 * MS, 30 * MS), to=["store"]) | discipline | {"stations.store": store})
    trace = play(scenario, engine)
    assert waits_s(scenario, trace) == pytest.approx([40 * MS + 30 * MS], abs=1e-9)  # from 38 to 68 ms again
    assert hop_times(scenario, trace, "stored") == pytest.approx([80 * MS], abs=1e-9)
    assert busy_s(scenario, trace)["pool"] == pytest.approx(10 * MS)


def test_a_stalled_host_stops_all_that_it_runs(engine: Any, discipline: Any) -> None:
    """The pool's 10 ms and then the store's are each hit: 3.9 ms of work, 6 ms of stall, again and again."""
    store = {"kind": "store", "host": "box", "hop": "stored", "demand": {"job_s": 10 * MS}}
    stalls = {"stations.store": store, "hosts.box.pauses": every(3.9 * MS, 6 * MS)}
    scenario = bare(pool(10 * MS, to=["store"]) | discipline | stalls)
    trace = play(scenario, engine)
    assert hop_times(scenario, trace, "priced") == pytest.approx([2 * 9.9 * MS + 2.2 * MS], abs=1e-9)
    assert hop_times(scenario, trace, "stored") == pytest.approx([5 * 9.9 * MS + 0.5 * MS], abs=1e-9)
    assert busy_s(scenario, trace)["pool"] == pytest.approx(10 * MS)
    assert busy_s(scenario, trace)["store"] == pytest.approx(10 * MS)


def test_a_pause_takes_its_share_of_the_time(engine: Any) -> None:
    """A pool that always has work and is paused for a fifth of the time, at random, gets four fifths of its core."""
    noise = {"dist": "exponential"}
    pauses = [{"gap": {"mean_s": 0.04, "noise": noise}, "length": {"mean_s": 0.01, "noise": noise}}]
    scenario = bare(pool(1.0, pauses=pauses))
    trace = play(scenario, engine, seconds=60.0)
    assert busy_s(scenario, trace)["pool"] / 120.0 == pytest.approx(0.8, abs=0.02)


def test_a_collection_comes_with_the_events_and_not_with_the_clock(engine: Any) -> None:
    """Each fourth event fills the heap: its job waits for 20 ms, the others take their 1 ms."""
    pauses = [{"every_events": 4, "length": {"mean_s": 20 * MS}}]
    scenario = bare(pool(1 * MS, pauses=pauses))
    trace = play(scenario, engine, seconds=0.8)
    assert waits_s(scenario, trace) == pytest.approx([1 * MS, 1 * MS, 1 * MS, 21 * MS] * 2, abs=1e-9)


def test_a_limit_caps_what_a_busy_process_gets(engine: Any) -> None:
    """0.5 cores, however many threads and cores there are."""
    changes = pool(1.0, threads=3, cpu_limit_cores=0.5) | {"hosts.box.cores": 4}
    scenario = bare(changes)
    trace = play(scenario, engine, seconds=10.0)
    assert busy_s(scenario, trace)["pool"] == pytest.approx(0.5 * 20.0, rel=0.02)
    assert trace.cpu_s[list(processes(scenario)).index("pool")].max() <= 0.5 + 0.05 + 1e-9


def test_two_threads_under_a_small_limit_stall_for_most_of_a_period(engine: Any) -> None:
    """Two jobs of 40 ms come together each second: 50 ms of quota last 25 ms of two threads, then both wait for the next period.

    They use 8 % of a core on average, a sixth of the limit, which shows nothing of it.
    """
    together = {"load.rate_eps": 2.0, "load.tick_s": 1.0, "hosts.box.cores": 4}
    scenario = bare(pool(40 * MS, threads=2, cpu_limit_cores=0.5) | together)
    plan = prepare(scenario, seconds=4.0, seed=3)
    trace = run(plan, engine=engine)
    grid_s = 0.1 * plan.phase["pool", "cpu-limit"]
    rest_s = (grid_s - hop_times(scenario, trace, "received")) % 0.1  # of the period in which the jobs come
    assert (rest_s > 0.025).all()
    pairs = slice(1, -1)  # the first and the last second hold one event each
    assert waits_s(scenario, trace)[pairs] == pytest.approx(rest_s[pairs] + 15 * MS, abs=1e-9)
    assert waits_s(scenario, trace)[0] == pytest.approx(40 * MS, abs=1e-9)
    free = bare(pool(40 * MS, threads=2) | together)
    assert waits_s(free, play(free, engine, seconds=4.0)) == pytest.approx(40 * MS, abs=1e-9)


def test_what_stays_below_its_limit_is_not_touched(engine: Any) -> None:
    scenario, free = bare(pool(10 * MS, cpu_limit_cores=0.2)), bare(pool(10 * MS))
    np.testing.assert_array_equal(play(scenario, engine, seconds=5.0).hops_s, play(free, engine, seconds=5.0).hops_s)


def test_code_gets_faster_as_it_is_compiled_and_slow_again_after_a_restart(engine: Any) -> None:
    """1 ms jobs, three times as long at first; the excess falls by e for each 3 ms of work; a restart at 450 ms begins again."""
    scenario = bare(pool(1 * MS, warmup={"factor": 2.0, "cpu_s": 3 * MS}))
    trace = play(scenario, engine, Change(0.45, "restart", "pool"), seconds=0.8)
    expected = [1 * MS * (1 + 2 * math.exp(-done / 3)) for done in range(5)]
    assert waits_s(scenario, trace) == pytest.approx(expected + expected[:3], abs=1e-9)


def test_a_neighbour_takes_cores_and_no_account_shows_it(engine: Any, discipline: Any) -> None:
    """One core for the pool and one thread of somebody else: a job takes twice its time while that is on."""
    changes = pool(30 * MS) | discipline | {"hosts.box.neighbour": {"active": False}}
    scenario = bare(changes)
    switches = Change(0.15, "neighbour", "box", 1.0), Change(0.39, "neighbour", "box", 0.0)
    trace = play(scenario, engine, *switches, seconds=0.5)
    assert waits_s(scenario, trace) == pytest.approx([30 * MS, 30 * MS, 60 * MS, 60 * MS, 30 * MS], abs=4 * MS)
    assert busy_s(scenario, trace)["pool"] == pytest.approx(0.15)
    assert len(trace.cpu_s) == len(processes(scenario))


def test_a_neighbour_comes_and_goes_by_itself(engine: Any, discipline: Any) -> None:
    """Busy for 100 ms of each 200: half of the jobs take twice their time."""
    neighbour = {"busy": {"mean_s": 0.1}, "quiet": {"mean_s": 0.1}}
    scenario = bare(pool(30 * MS) | discipline | {"hosts.box.neighbour": neighbour})
    trace = play(scenario, engine, seconds=0.4)
    assert waits_s(scenario, trace) == pytest.approx([30 * MS, 60 * MS] * 2, abs=4 * MS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stations.group.pauses": [{"length": {"mean_s": 1.0}}]}, "must set one of gap .* and every_events"),
        (
            {"hosts.box.pauses": [{"every_events": 3, "length": {"mean_s": 1.0}}]},
            "must have pauses with a gap; every_events is for those of a station",
        ),
        ({"hosts.box.neighbour": {"busy": {"mean_s": 1.0}}}, "must set both busy and quiet"),
        (
            {"hosts.ample.discipline": "ps", "stations.group.cpu_limit_cores": 0.5},
            "stations.group.cpu_limit_cores: must be of a station on a host with discipline fifo-slice",
        ),
    ],
)
def test_a_setting_that_means_nothing_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        bare(changes)


def test_a_scenario_without_any_of_it_keeps_its_hash() -> None:
    spelt_out = bare({"stations.group.pauses": [], "stations.group.cpu_limit_cores": 0.0, "hosts.box.pauses": []})
    assert scenario_hash(spelt_out) == scenario_hash(bare())
    assert "pauses" not in scenario_data(bare())["hosts"]["box"]
    assert parse_scenario(scenario_data(spelt_out)) == bare()

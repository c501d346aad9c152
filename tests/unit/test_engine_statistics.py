"""A run reduced to statistics while it is played: the same figures as of its trace, in memory that does not grow with it."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from sentra_sim.engine import Change, Histogram, prepare, run, run_statistics
from sentra_sim.engine import plan as plans
from sentra_sim.engine.changes import play_changes
from sentra_sim.engine.compiled import CompiledSimulation
from sentra_sim.engine.compiled.sinks import StatisticsSink
from sentra_sim.engine.compiled.windows import AMPLE_BYTES
from sentra_sim.engine.plan import Piece
from sentra_sim.engine.statistics import BUCKETS, RELATIVE_ERROR, bucket_middles
from sentra_sim.scenario import parse_scenario, scenario_data
from tests.counted import assert_counted
from tests.pipelines import bare, event_times, sentra


@pytest.mark.parametrize("keep", [True, False])
def test_every_event_is_counted_as_in_the_trace(keep: bool) -> None:
    scenario = sentra({"load.arrivals": "poisson", "stations.worker.process.noise": {"dist": "exponential"}})
    plan = prepare(scenario, seconds=5.0, seed=4, keep=keep)
    trace, found = run(plan), run_statistics(plan, window_s=(1.0, 4.0))
    intended_s = plan.offered.intended_s
    inside = (intended_s >= 1.0) & (intended_s < 4.0)
    assert (found.offered, found.taken, found.delivered) == (inside.sum(), inside.sum(), inside.sum())
    assert (found.frames, found.polls) == (len(trace.events), trace.poll.max() + 1)
    assert found.frame_hops == trace.hops_s.size
    np.testing.assert_array_equal(found.cpu_s, trace.cpu_s)
    for name, span in scenario.kpis.items():
        start_s = intended_s if span.start == "intended" else event_times(scenario, trace, span.start)
        times_s = (event_times(scenario, trace, span.end) - start_s)[inside]
        assert found.spans[name].count == len(times_s)
        assert found.spans[name].mean_s == pytest.approx(times_s.mean(), rel=1e-9)
        for q in (0.01, 0.5, 0.95, 0.99, 0.999, 1.0):
            exact_s = np.quantile(times_s, q, method="inverted_cdf")
            assert found.spans[name].quantile(q) == pytest.approx(exact_s, rel=RELATIVE_ERROR)


def test_events_that_never_arrive_are_the_slowest() -> None:
    """Half a second an event, ten a second: of 20 events the run's 12 s see 24 served; of 100 events a quarter."""
    changes = {"stations.log.host": "box", "stations.log.append": {"job_s": 0.5}, "kpis.e2e.from": "intended"}
    scenario = bare(changes | {"kpis.e2e.to": "started", "load.rate_eps": 50.0})
    found = run_statistics(prepare(scenario, seconds=2.0, seed=1, keep=False))
    assert (found.offered, found.delivered) == (100, 23)
    assert (found.spans["e2e"].count, found.spans["e2e"].missing) == (100, 77)
    assert found.spans["e2e"].quantile(0.2) == pytest.approx(9.6, rel=0.01)
    assert found.spans["e2e"].quantile(0.5) == np.inf


@pytest.mark.parametrize("keep", [True, False])
def test_a_run_without_an_event_has_nothing_to_count(keep: bool) -> None:
    found = run_statistics(prepare(sentra(), seconds=0.0, seed=1, keep=keep))
    assert (found.offered, found.taken, found.frames) == (0, 0, 0)
    assert np.isnan(found.spans["e2e"].quantile(0.5))


def test_a_histogram_is_off_by_less_than_it_says() -> None:
    middles = bucket_middles()
    ratios = middles[1:] / middles[:-1]
    assert (ratios < 1 + 2.01 * RELATIVE_ERROR).all()
    assert RELATIVE_ERROR <= 0.005
    nothing = Histogram(np.zeros(BUCKETS, dtype=np.int64), 0.0, 0)
    assert np.isnan(nothing.quantile(0.5))
    assert np.isnan(nothing.mean_s)
    twice = Histogram(np.bincount([9], minlength=BUCKETS), 1.0, 1) + Histogram(
        np.bincount([7], minlength=BUCKETS), 2.0, 0
    )
    assert (twice.count, twice.missing, twice.mean_s) == (3, 1, 1.5)


def test_no_table_grows_with_the_length_of_a_run() -> None:
    def sizes(seconds: float) -> dict[str, int]:
        plan = prepare(sentra({"load.arrivals": "poisson"}), seconds=seconds, seed=2, keep=False)
        simulation = CompiledSimulation(plan, StatisticsSink(plan, (0.0, seconds), "delivered"))
        assert simulation.statistics().delivered > 49_000 * seconds
        by_second = ("cpu", "virtual")  # the CPU accounts, which do
        return {name: array.nbytes for name, array in simulation.tables.arrays.items() if name not in by_second}

    short, long = sizes(6.0), sizes(60.0)
    assert {name: size for name, size in long.items() if size > max(2 * short[name], AMPLE_BYTES)} == {}


def test_calls_that_are_given_up_leave_no_rows_behind() -> None:
    """Half of the calls of the last store fail once and for all: what earlier stations do with those polls is waited for."""
    changes = {"stations.redis.failure": 0.5, "stations.worker.retry": {"attempts": 1}}
    seconds = 6.0
    plan = prepare(sentra(changes | {"load.rate_eps": 5_000.0}), seconds=seconds, seed=2, keep=False)
    simulation = CompiledSimulation(plan, StatisticsSink(plan, (0.0, seconds), "delivered"))
    found = simulation.statistics()
    assert found.dlq > 10_000
    assert found.delivered + found.dlq == found.offered
    assert simulation.tables.state["frame_kept"][0] > 0.9 * found.frames


WEIGHED = {
    "load.sizes": {"dist": "lognormal", "mean_bytes": 100.0, "cv": 1.0, "per": "event"},
    "stations.gateway.batch_bytes": 16_384,
}
PULLED = {"stations.kafka.replicate_by": "pull"}
DELETED = {
    "stations.kafka.segment_bytes": 640,
    "stations.kafka.retention_s": 0.2,
    "stations.kafka.retention_check_s": 0.1,
    "stations.worker.process": {"event_s": 2e-3},
}


@pytest.mark.parametrize("changes", [WEIGHED, PULLED, DELETED], ids=["weighed", "pulled", "deleted"])
def test_frames_that_are_weighed_pulled_or_deleted_leave_no_rows_behind(changes: dict[str, Any]) -> None:
    seconds = 6.0
    scenario = sentra(changes | {"load.rate_eps": 5_000.0})
    plan = prepare(scenario, seconds=seconds, seed=2, keep=False)
    simulation = CompiledSimulation(plan, StatisticsSink(plan, (0.0, seconds), "delivered"))
    found = simulation.statistics()
    assert (found.lost > 10_000) == (changes is DELETED)
    assert simulation.tables.state["frame_kept"][0] > 0.9 * found.frames
    assert_counted(scenario, run(plan), seconds=seconds, seed=2)


def test_brokers_that_fail_again_and_again_leave_no_requests_behind() -> None:
    """A broker is killed and started again every 2 s: what the producer sent again is forgotten when it has been fetched."""
    scenario = sentra(
        {"load.rate_eps": 1_000.0, "stations.kafka.session_timeout_s": 0.3, "stations.kafka.restart_s": 0.3}
    )
    seconds = 60.0
    changes = [
        Change(at + after_s, operation, f"kafka-{1 + number % 3}")
        for number, at in enumerate(np.arange(1.0, seconds, 2.0).tolist())
        for operation, after_s in (("kill", 0.0), ("start", 0.5))
    ]
    plan = prepare(scenario, seconds=seconds, seed=2, keep=False)
    simulation = CompiledSimulation(plan, StatisticsSink(plan, (0.0, seconds), "delivered"))
    play_changes(simulation, changes)
    state, rows = simulation.tables.state, simulation.tables.arrays["request_table"]
    assert state["requests"][0] > 2 * len(rows)
    assert_counted(scenario, run(plan, changes=changes), seconds=seconds, seed=2, changes=changes)


def test_what_has_ended_can_be_read_until_the_next_look() -> None:
    plan = prepare(sentra({"load.rate_eps": 5_000.0}), seconds=4.0, seed=1, keep=False)
    recycling = CompiledSimulation(plan, StatisticsSink(plan, (0.0, 4.0), "delivered"))
    keeping = CompiledSimulation(plan)
    recycling.view()
    under_way, seen = np.empty(0, dtype=np.int64), 0
    for at_s in np.arange(0.25, 4.0, 0.25):
        views = []
        for simulation in (recycling, keeping):
            simulation.advance(at_s)
            views.append(simulation.view())
        numbers = np.concatenate([under_way, np.arange(seen, views[0].frames)])
        found, expected = (view.rows(numbers) for view in views)
        np.testing.assert_array_equal(found.hops_s, expected.hops_s)
        np.testing.assert_array_equal(found.partition, expected.partition)
        under_way, seen = numbers[np.isnan(found.hops_s).any(axis=1)], views[0].frames
    assert recycling.statistics().delivered == 20_000
    assert recycling.supply.frames.first > 0


def test_what_goes_wrong_in_the_middle_is_raised_when_the_engine_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    def pieces(self: plans.Plan) -> Iterator[Piece]:
        yield next(whole(self))
        raise KeyboardInterrupt

    whole = plans.Plan.pieces
    monkeypatch.setattr(plans.Plan, "pieces", pieces)
    with pytest.raises(KeyboardInterrupt):
        run_statistics(prepare(sentra(), seconds=5.0, seed=1, keep=False))


def chain(stations: int) -> dict[str, Any]:
    data = scenario_data(bare())
    data["stations"]["group"]["calls"] = ["pool-0"]
    for number in range(stations):
        after = [f"pool-{number + 1}"] if number + 1 < stations else []
        data["stations"][f"pool-{number}"] = {"kind": "pool", "host": "ample", "hop": f"hop_{number}", "to": after}
    return data


def test_a_chain_of_stations_may_be_longer_than_pythons_stack() -> None:
    scenario = parse_scenario(chain(2_000))
    trace = run(prepare(scenario, seconds=1.0, seed=1))
    assert trace.hops_s.shape == (10, 2_004)
    assert np.isfinite(trace.hops_s).all()

"""The simulated plant: what it shows is what the finished run's record says of the same window, and a look changes nothing."""

from typing import Any

import numpy as np
import pytest

from sentra_sim.control.loop import drive_simulated
from sentra_sim.control.plant import Action, Burden, Kill, Partition, SetWeights, SetWorkers
from sentra_sim.control.rollout import RolloutController, RolloutPolicy
from sentra_sim.control.simulated import SimulatedPlant, changes_of
from sentra_sim.engine import Change, Plan, Simulation, prepare, start
from sentra_sim.engine.change_checks import check_change
from sentra_sim.engine.run import Engine
from sentra_sim.errors import InputError, PlantError
from tests.pipelines import bare, event_times, hop_times, sentra

SECONDS = 6.0
QUIET = {"load.rate_eps": 2000.0, "load.arrivals": "poisson", "stations.gateway.max_events": 20}


class Clock:
    """Says the time that a test sets."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def begun(engine: Engine = "compiled", **defects: Any) -> tuple[Plan, Simulation, SimulatedPlant, Clock]:
    plan, clock = prepare(sentra(QUIET), seconds=SECONDS, seed=5), Clock()
    simulation = start(plan, engine=engine)
    return plan, simulation, SimulatedPlant(simulation, plan, clock, **defects), clock


def looks(engine: Engine) -> list[dict[str, float]]:
    _, _, plant, clock = begun(engine)
    found = []
    for now_s in (0.0, 0.4, 1.0, 1.01, 3.0, 5.5):
        clock.now_s = now_s
        found.append(plant.metrics(2.0))
    return found


def test_both_engines_show_the_same_at_every_look() -> None:
    assert looks("compiled") == looks("reference")


def test_what_is_shown_is_what_the_whole_run_s_trace_says_of_the_window() -> None:
    plan, simulation, plant, clock = begun()
    for clock.now_s in (1.0, 2.2, 3.1):  # looks before it and within it leave nothing out
        plant.metrics(0.5)
    clock.now_s = 4.0
    shown = plant.metrics(1.5)
    trace = simulation.trace()

    delivered = event_times(plan.scenario, trace, "delivered")
    inside = (delivered > 2.5) & (delivered <= 4.0)
    times_s = delivered[inside] - plan.offered.intended_s[inside]
    assert shown["throughput_eps"] == pytest.approx(inside.sum() / 1.5)
    assert shown["e2e_p95_s"] == pytest.approx(np.quantile(times_s, 0.95))
    acked = event_times(plan.scenario, trace, "acked")
    assert shown["acked_eps"] == pytest.approx(((acked > 2.5) & (acked <= 4.0)).sum() / 1.5)
    stale = event_times(plan.scenario, trace, "redis")
    fresh = (stale > 2.5) & (stale <= 4.0)
    assert shown["staleness_p50_s"] == pytest.approx(np.quantile(stale[fresh] - acked[fresh], 0.5))
    waiting = (acked <= 4.0) & ~(event_times(plan.scenario, trace, "started") <= 4.0)
    assert shown["lag_events"] == waiting.sum()
    # Of the window's whole second; what was on a core at its edges is a little later in the account.
    assert shown["cpu_cores"] == pytest.approx(trace.cpu_s[:, 3].sum(), abs=0.02)


def test_looking_changes_nothing() -> None:
    plan, simulation, plant, clock = begun()
    for clock.now_s in np.arange(0.1, SECONDS, 0.37).tolist():
        plant.metrics(1.0)
    np.testing.assert_array_equal(simulation.trace().hops_s, start(plan).trace().hops_s)


def test_a_backlog_has_a_length_an_age_and_partitions() -> None:
    changes = {"stations.group.host": "box", "stations.group.process": {"job_s": 10.0}, "stations.log.partitions": 4}
    plan, clock = prepare(bare(changes), seconds=5.0, seed=1), Clock()
    simulation = start(plan)
    plant = SimulatedPlant(simulation, plan, clock)
    clock.now_s = 4.55
    shown = plant.metrics(1.0)
    started = hop_times(plan.scenario, simulation.trace(), "started")
    taken = int((started <= 4.55).sum())
    assert taken == 1  # ten events a second, the first holds the worker for ten seconds
    assert shown["lag_events"] == 46 - taken
    assert shown["lag_s"] == pytest.approx(4.55 - 0.1)
    assert shown["lag_partitions"] == 4
    assert "e2e_p95_s" not in shown
    assert "error_rate" not in shown


def test_a_burden_makes_its_station_work_more() -> None:
    _, _, plant, clock = begun()
    clock.now_s = 2.0
    before = plant.metrics(2.0)
    plant.apply(Burden("pricing", 5.0))
    clock.now_s = 4.0
    after = plant.metrics(2.0)
    assert after["pricing.cpu_cores"] == pytest.approx(5 * before["pricing.cpu_cores"], rel=0.2)
    # Not so of another station, give or take some polls.
    assert after["redis.cpu_cores"] == pytest.approx(before["redis.cpu_cores"], rel=0.2)


def test_a_release_by_weight_is_the_mean_of_the_demands_where_the_engine_knows_none() -> None:
    _, _, plant, clock = begun(defects={"next": ("pricing", 9.0)})
    clock.now_s = 2.0
    before = plant.metrics(2.0)
    plant.apply(SetWeights({"stable": 0.75, "next": 0.25}))
    clock.now_s = 4.0
    assert plant.metrics(2.0)["pricing.cpu_cores"] == pytest.approx(3 * before["pricing.cpu_cores"], rel=0.2)
    with pytest.raises(PlantError, match="must name releases of the plant, got 'other'; valid names: next"):
        plant.apply(SetWeights({"stable": 0.5, "other": 0.5}))


RELEASES = {"stations.pricing.releases": {"canary": {}, "next": {}}, "stations.worker.max_replicas": 4}


@pytest.mark.parametrize(
    ("action", "changes"),
    [
        (Kill("worker-1"), [Change(3.0, "kill", "worker-1")]),
        (SetWorkers(2), [Change(3.0, "replicas", "worker", 2.0)]),
        (Partition("kafka-2", peers=True, clients=False), [Change(3.0, "partition", "kafka-2")]),
        (
            SetWeights({"stable": 0.7, "next": 0.3}),
            [Change(3.0, "weight", "pricing/canary", 0.0), Change(3.0, "weight", "pricing/next", 0.3)],
        ),
        (SetWeights({"stable": 1.0}), [Change(3.0, "weight", f"pricing/{name}", 0.0) for name in ("canary", "next")]),
    ],
)
def test_an_action_is_changes_that_the_engine_makes(action: Action, changes: list[Change]) -> None:
    scenario = sentra(RELEASES)
    assert changes_of(action, 3.0, scenario) == changes
    for change in changes:
        check_change(scenario, change)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (SetWeights({"x": 1.0}), "weights must name releases of the plant, got 'x'; valid names: stable"),
        (Partition("kafka-1", peers=True, clients=True), "must be of a broker and its peers, got one of kafka-1 and"),
    ],
)
def test_what_a_simulation_cannot_do_is_refused(action: Action, message: str) -> None:
    _, _, plant, _ = begun()
    with pytest.raises(PlantError, match=message):
        plant.apply(action)


def test_bad_windows_and_subjects_are_refused() -> None:
    _, _, plant, clock = begun()
    clock.now_s = 1.0
    with pytest.raises(PlantError, match="window_s must be above 0 and at most 300, got 301"):
        plant.metrics(301.0)
    with pytest.raises(InputError, match="demand: must be of a station, got 'princing'"):
        plant.apply(Burden("princing", 2.0))


@pytest.mark.parametrize(("factor", "outcome"), [(1.0, "promoted"), (10.0, "rolled-back")])
def test_a_rollout_is_decided_on_what_the_simulation_shows(factor: float, outcome: str) -> None:
    changes = QUIET | {"stations.pricing.demand": {"event_s": 3e-4}, "load.rate_eps": 1000.0}
    plan = prepare(sentra(changes), seconds=60.0, seed=2)
    steps = [{"weight": 0.2, "hold_s": 10.0}, {"weight": 0.6, "hold_s": 10.0}]
    gates = [{"metric": "e2e_p95_s", "max": 0.12}]
    timing = {"start_s": 5.0, "window_s": 4.0, "look_every_s": 2.0}
    policy = RolloutPolicy.model_validate({"canary": "next", "steps": steps, "gates": gates} | timing)
    controller = RolloutController(policy)
    drive_simulated(start(plan), plan, [controller], defects={"next": ("pricing", factor)})
    assert controller.result.outcome == outcome
    assert (controller.result.restored_s is not None) == (outcome == "rolled-back")

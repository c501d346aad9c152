"""Classes of service: lanes of the log, and the order in which consumers serve them. Both engines play every story."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sentra_sim.cli import main
from sentra_sim.control.checks import metric_names
from sentra_sim.control.simulated import SimulatedPlant
from sentra_sim.engine import Change, Trace, prepare, start
from sentra_sim.engine.reference.waiting import Waiting
from sentra_sim.engine.reference.world import Frame
from sentra_sim.engine.trace import DUPLICATE, LOST, OK, SHED
from sentra_sim.errors import ScenarioError
from sentra_sim.kpi import kpis, lane_kpis
from sentra_sim.records import read_run
from sentra_sim.scenario import Log, Scenario, load_scenario, only
from sentra_sim.scenario.advice import advice
from sentra_sim.scenario.lanes import lanes_of_partitions, lanes_of_tenants
from tests.pipelines import bare, event_times, hop_times
from tests.property.test_engines_equal import play_both

FULL_POLL_S = 0.01  # of ten events: the group serves 1,000 events/s
SECONDS = 7.0
EXAMPLE = Path(__file__).parents[2] / "examples" / "lanes.yaml"
SHORT = ["--seconds", "6", "--warmup", "1"]
QUIET = {"name": "quiet", "partitions": 3, "tenants": [0, 1, 2], "weight": 3.0}
NOISY = {"name": "noisy", "partitions": 1}
CLASSES = [
    {"name": "gold", "partitions": 2, "tenants": [0], "weight": 5.0},
    {"name": "silver", "partitions": 1, "tenants": [1, 3], "weight": 3.0},
    {"name": "bronze", "partitions": 1, "weight": 2.0},
]


def shop(rates_eps: list[float], lanes: list[dict[str, Any]], service: str, **changes: Any) -> Scenario:
    """Four tenants that offer so much each, and one consumer that serves 1,000 events/s."""
    return bare(
        {
            "load": {"rate_eps": sum(rates_eps), "arrivals": "poisson", "tick_s": 0.0, "keys": 400, "tenants": 4}
            | {"tenant_weights": rates_eps},
            "stations.batcher.max_events": 2,
            "stations.batcher.linger_s": 0.002,
            "stations.log.partitions": 4,
            "stations.log.lanes": lanes,
            "stations.group.service": service,
            "stations.group.max_poll_events": 10,
            "stations.group.process": {"event_s": FULL_POLL_S / 10},
            **changes,
        }
    )


def play(scenario: Scenario, *changes: Change, seconds: float = SECONDS) -> Trace:
    return play_both(scenario, seconds=seconds, seed=3, changes=changes)


def tenants(scenario: Scenario, seconds: float = SECONDS) -> np.ndarray:
    """Returns the tenant of each offered event."""
    return prepare(scenario, seconds=seconds, seed=3).offered.keys % 4


def lanes(scenario: Scenario, trace: Trace) -> np.ndarray:
    """Returns the number of each frame's lane."""
    return np.array(lanes_of_partitions(only(scenario, Log)[1]))[trace.partition]


def p95_s(scenario: Scenario, trace: Trace, *of: int) -> float:
    """Returns the P95 of the time until some tenants' events are started on; what never is waits for ever."""
    offered = prepare(scenario, seconds=SECONDS, seed=3).offered
    waited_s = event_times(scenario, trace, "started") - offered.intended_s
    waited_s = waited_s[np.isin(offered.keys % 4, of) & (offered.intended_s > 1.0)]
    return float(np.quantile(np.where(np.isnan(waited_s), np.inf, waited_s), 0.95, method="higher"))


def served(scenario: Scenario, trace: Trace, *, until_s: float) -> np.ndarray:
    """Returns the events of each lane that were started on by then."""
    started = hop_times(scenario, trace, "started") < until_s
    return np.bincount(lanes(scenario, trace)[started], trace.events[started])


def shares_of(scenario: Scenario, trace: Trace) -> np.ndarray:
    """Returns the share of the group's capacity that each lane had in the last five seconds of the load."""
    counts = served(scenario, trace, until_s=SECONDS) - served(scenario, trace, until_s=SECONDS - 5.0)
    return counts / (5.0 * 1000.0)


def test_every_event_is_in_its_tenant_s_lane_and_spread_over_it() -> None:
    scenario = shop([100.0] * 4, CLASSES, "arrival")
    trace = play(scenario)
    of_event = lanes(scenario, trace)[trace.frame]
    assert lanes_of_tenants(only(scenario, Log)[1].lanes, 4) == [0, 1, 2, 1]
    np.testing.assert_array_equal(of_event, np.array([0, 1, 2, 1])[tenants(scenario)])
    of_gold = np.bincount(trace.partition[trace.frame][of_event == 0])
    assert of_gold.min() > 0.3 * of_gold.sum()


def test_a_tenant_s_lane_does_not_depend_on_how_the_load_is_drawn() -> None:
    """Piece by piece, or all at once."""
    scenario = shop([100.0] * 4, CLASSES, "fair")
    kept, drawn = (prepare(scenario, seconds=3.0, seed=1, keep=keep) for keep in (True, False))
    np.testing.assert_array_equal(np.concatenate([piece.partition for piece in drawn.pieces()]), kept.partition)


def test_under_arrival_a_noisy_tenant_takes_everybody_down_with_it() -> None:
    calm, noisy = ([200.0, 200.0, 200.0, extra] for extra in (0.0, 1400.0))
    alone, loud = (shop(rates, [QUIET, NOISY], "arrival") for rates in (calm, noisy))
    assert p95_s(alone, play(alone), 0, 1, 2) < 5 * FULL_POLL_S
    assert p95_s(loud, play(loud), 0, 1, 2) > 2.5  # they wait behind what nobody can serve


def test_under_fair_service_a_noisy_tenant_harms_itself() -> None:
    calm, noisy = ([200.0, 200.0, 200.0, extra] for extra in (0.0, 1400.0))
    alone, loud = (shop(rates, [QUIET, NOISY], "fair") for rates in (calm, noisy))
    trace = play(loud)
    # What is under way when an event comes is served first, and so is one visit to the other lane.
    assert p95_s(loud, trace, 0, 1, 2) < p95_s(alone, play(alone), 0, 1, 2) + 2 * FULL_POLL_S
    waiting = [
        trace.events[(lanes(loud, trace) == 1) & (hop_times(loud, trace, "acked") < at_s)].sum()
        - served(loud, trace, until_s=at_s)[1]
        for at_s in (3.0, 5.0, 7.0)
    ]
    assert waiting[0] > 2_500
    left_eps = 1000.0 - 600.0  # by the quiet ones
    np.testing.assert_allclose(np.diff(waiting), 2.0 * (1400.0 - left_eps), rtol=0.1)
    assert p95_s(loud, trace, 3) > 2.5


def test_under_priority_gold_waits_for_the_poll_under_way_at_most_and_bronze_for_ever() -> None:
    alone = shop([300.0, 0.0, 0.0, 0.0], CLASSES, "priority")
    full = shop([300.0, 900.0, 400.0, 0.0], CLASSES, "priority")
    trace = play(full)
    assert p95_s(full, trace, 0) < p95_s(alone, play(alone), 0) + 1.5 * FULL_POLL_S
    gold, silver, bronze = served(full, trace, until_s=SECONDS)
    assert gold == pytest.approx(300.0 * SECONDS, rel=0.05)
    assert silver == pytest.approx(700.0 * SECONDS, rel=0.05)
    assert bronze < 0.01 * 400.0 * SECONDS  # only what came before silver's first backlog


def test_lanes_that_all_have_a_backlog_are_served_by_their_weights() -> None:
    """Whatever they offer, and however large their frames are: silver and bronze fill theirs less often."""
    scenario = shop([1500.0, 700.0, 700.0, 0.0], CLASSES, "fair")
    shares = shares_of(scenario, play(scenario))
    np.testing.assert_allclose(shares, [0.5, 0.3, 0.2], rtol=0.02)


def test_what_a_lane_leaves_of_its_share_goes_to_the_others_by_their_weights() -> None:
    scenario = shop([100.0, 1500.0, 1500.0, 0.0], CLASSES, "fair")
    shares = shares_of(scenario, play(scenario))
    np.testing.assert_allclose(shares, [0.1, 0.9 * 3 / 5, 0.9 * 2 / 5], rtol=0.05)


def test_a_lane_gathers_no_claim_while_less_waits_than_its_share() -> None:
    """Gold offers a frame now and then; when it has more, its first visit takes what a quantum of five pays for: two frames of two."""
    waiting = Waiting(shop([1.0] * 4, CLASSES, "fair"))
    for number in range(1000):
        waiting.add(Frame(number, partition=2 + number % 2, hops_s=[], events=2))
    assert served_next(waiting, 10) == [2, 3, 2, 2, 3, 2, 3, 2, 2, 3]  # silver has quanta of three, bronze of two
    for number in range(30):
        waiting.add(Frame(number, partition=0, hops_s=[], events=2))
        assert served_next(waiting, 8).count(0) == 1
    for number in range(100):
        waiting.add(Frame(number, partition=0, hops_s=[], events=2))
    order = served_next(waiting, 50)
    first = order.index(0)
    assert order[first : first + 3].count(0) == 2
    assert order.count(0) == pytest.approx(25, abs=2)
    waiting.renew()  # another process: whatever the last one left, its first lane has its first quantum
    assert served_next(waiting, 4) == [0, 0, 2, 3]


def served_next(waiting: Waiting, count: int) -> list[int]:
    """Returns the partitions of the next frames that are served."""
    found = []
    for _ in range(count):
        frame = waiting.next()
        assert frame is not None
        found.append(frame.partition)
        waiting.take(served=True)
    return found


@pytest.mark.parametrize("service", ["priority", "fair"])
def test_a_crash_keeps_the_order_within_each_partition_and_loses_nothing(service: str) -> None:
    store = {"kind": "store", "host": "ample", "hop": "stored"}
    timing = {"stations.group.heartbeat_s": 0.1, "stations.group.session_timeout_s": 0.5}
    more = {"stations.group.replicas": 2, "stations.group.calls": ["store"], "stations.store": store} | timing
    scenario = shop([450.0] * 4, CLASSES, service, **more)
    trace = play(scenario, Change(1.003, "kill", "group-1"), Change(2.5, "start", "group-1"), seconds=4.0)
    assert np.isin(trace.outcome, (OK, DUPLICATE)).all()
    again = trace.partition[trace.attempts > 1]
    assert len(np.unique(again)) > 1
    stored = hop_times(scenario, trace, "stored")
    for partition in range(4):
        assert (np.diff(stored[trace.partition == partition]) >= 0.0).all(), "in the order in which they were opened"


def test_what_starves_for_too_long_is_shed_from_the_front_of_its_own_lane() -> None:
    scenario = shop([300.0, 900.0, 400.0, 0.0], CLASSES, "priority", **{"stations.group.max_age_s": 0.5})
    trace = play(scenario)
    shed = np.bincount(lanes(scenario, trace)[trace.outcome == SHED], minlength=3)
    assert shed[0] == 0
    assert shed[2] > 0
    assert (hop_times(scenario, trace, "started") - hop_times(scenario, trace, "received"))[
        trace.outcome == OK
    ].max() < 0.55


def test_what_starves_beyond_its_retention_is_deleted_in_its_own_lane() -> None:
    keys = {"stations.log.retention_s": 1.0, "stations.log.retention_check_s": 0.5, "stations.log.segment_bytes": 1280}
    scenario = shop([300.0, 900.0, 400.0, 0.0], CLASSES, "priority", **keys)
    trace = play(scenario)
    lost = np.bincount(lanes(scenario, trace)[trace.outcome == LOST], minlength=3)
    assert lost[0] == 0
    assert lost[2] > 0
    assert trace.events[np.isin(trace.outcome, (OK, LOST))].sum() == trace.events.sum()


@pytest.mark.parametrize(
    ("service", "verdicts"),
    [
        ("arrival", ["saturated", "saturated", "saturated"]),
        ("priority", ["ok", "ok", "saturated"]),
        ("fair", ["ok", "ok", "saturated"]),
    ],
)
def test_the_example_s_run_shows_what_each_lane_got(tmp_path: Path, service: str, verdicts: list[str]) -> None:
    file = tmp_path / "lanes.yaml"
    file.write_text(
        EXAMPLE.read_text(encoding="utf-8").replace("service: fair", f"service: {service}"), encoding="utf-8"
    )
    assert main(["simulate", str(file), *SHORT, "-o", str(tmp_path / "run")]) == 0
    run = read_run(tmp_path / "run")
    found = {lane.lane: {kpi.name: kpi for kpi in lane.kpis} for lane in lane_kpis(run)}
    assert list(found) == ["gold", "standard", "free"]
    assert [lane["e2e_p95_s"].verdict for lane in found.values()] == verdicts
    whole = {kpi.name: kpi.value for kpi in kpis(run)}
    for name in ("throughput_eps", "backlog_growth_eps"):
        assert sum(lane[name].value or 0.0 for lane in found.values()) == pytest.approx(whole[name], rel=0.01)
    if service == "fair":
        assert found["gold"]["throughput_eps"].value == pytest.approx(1000.0, rel=0.02)
        assert found["free"]["lag_max_events"].value == pytest.approx(7 * 3_000, rel=0.1)


def test_the_command_shows_the_lanes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["simulate", str(EXAMPLE), *SHORT, "-o", str(tmp_path / "one"), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert [lane["lane"] for lane in told["lanes"]] == ["gold", "standard", "free"]
    main(["kpi", str(tmp_path / "one")])
    assert "one: lane by lane" in capsys.readouterr().out


def test_a_controller_sees_the_lanes() -> None:
    scenario = load_scenario(EXAMPLE)
    plan = prepare(scenario, seconds=3.0, seed=1)
    shown = SimulatedPlant(start(plan), plan, lambda: 2.5).metrics(1.0)
    assert shown["gold.e2e_p95_s"] < 0.1
    assert shown["free.e2e_p95_s"] > 0.8
    assert shown["free.lag_events"] > 0.9 * shown["lag_events"]
    assert set(shown) <= set(metric_names(scenario))


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"stations.log.lanes": [QUIET, NOISY | {"partitions": 2}]},
            "stations.log.lanes: must have the log's 4 partitions together, got 3 + 2 = 5; write partitions: 5, or mend the lanes",
        ),
        (
            {"stations.log.lanes": [QUIET, NOISY | {"tenants": [2, 3]}]},
            "stations.log.lanes: must have a tenant in one lane, got [2] twice; name each once",
        ),
        (
            {"stations.log.lanes": [QUIET, NOISY | {"tenants": [3, 4]}]},
            "stations.log.lanes: must name tenants 0 to 3, got [4]; raise load.tenants",
        ),
        (
            {"stations.log.lanes": [QUIET | {"tenants": [0, 1]}, NOISY | {"tenants": [3]}]},
            "stations.log.lanes: must have a lane for each tenant, got none for [2]; leave tenants out in one lane",
        ),
        (
            {"stations.log.lanes": [QUIET | {"tenants": [0, 1, 2, 3]}, NOISY]},
            "stations.log.lanes.noisy: must be some tenant's, got all 4 tenants in other lanes; remove the lane",
        ),
        (
            {"stations.log.lanes": [QUIET | {"tenants": None}, NOISY]},
            "stations.log.lanes: must leave tenants out in one lane at most, got quiet, noisy; name those of all but one",
        ),
        (
            {"stations.log.lanes": [QUIET, NOISY | {"name": "quiet"}]},
            "stations.log.lanes: must have names of their own, got quiet, quiet; rename one",
        ),
        (
            {"stations.log.lanes": [NOISY | {"partitions": 4}]},
            "stations.log.lanes: must be two or more, or none, got one; add a lane for the other tenants",
        ),
        (
            {"stations.log.lanes": [QUIET, NOISY | {"tenants": []}]},
            "stations.log.lanes.1.tenants: must hold 1 or more, got []; mend the value",
        ),
        (
            {"stations.log.lanes": [QUIET | {"weight": 0}, NOISY]},
            "stations.log.lanes.0.weight: must be greater than 0, got 0; write a positive number",
        ),
        (
            {"stations.log.lanes": [QUIET | {"wieght": 2}, NOISY]},
            "stations.log.lanes.0.wieght: unknown key; did you mean 'weight'?",
        ),
        (
            {"stations.log.lanes": []},
            "stations.group.service: must be arrival in front of a log without lanes, got fair; give log lanes",
        ),
        (
            {"stations.group.service": "first"},
            "stations.group.service: must be 'arrival', 'priority' or 'fair', got 'first'; mend the value",
        ),
    ],
)
def test_lanes_that_do_not_add_up_are_refused_in_one_line(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(ScenarioError, match=re.escape(line)) as caught:
        shop([100.0] * 4, [QUIET, NOISY], "fair", **changes)
    assert "\n" not in str(caught.value)


def test_what_lanes_hardly_mean_is_advised_against() -> None:
    assert advice(shop([100.0] * 4, [QUIET, NOISY], "fair")) == ()
    assert advice(shop([100.0] * 4, [QUIET, NOISY], "fair", **{"stations.group.replicas": 2})) == (
        "stations.log.lanes.noisy.partitions: should be >= the consumers (2), got 1; 1 of them would serve the other lanes only: "
        "add partitions",
    )
    assert advice(shop([100.0] * 4, [QUIET, NOISY], "priority")) == (
        "stations.log.lanes: should have weights with service: fair alone, got priority; they change nothing: "
        "set the group's service, or leave them out",
    )

"""Admission and impatient clients: both engines alike, no event unaccounted for, and what the rules do for whom."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentra_sim.engine import Trace, prepare, run, simulate
from sentra_sim.engine.trace import EVENT_SHED, NOT_TAKEN
from sentra_sim.errors import ScenarioError
from sentra_sim.scenario import Scenario, parse_scenario, scenario_data, scenario_hash
from sentra_sim.scenario.arrivals import draw_offered
from tests.pipelines import bare, event_times
from tests.property.test_engines_equal import assert_equal, play_both, scenarios

CAPACITY_EPS = 100.0
SLOW_GATE = {"stations.batcher.host": "box", "stations.batcher.receive": {"job_s": 1.0 / CAPACITY_EPS}}
SLOW_LOG = {
    "stations.log.host": "box",
    "stations.log.in_flight": 1,
    "stations.log.append": {"event_s": 1.0 / CAPACITY_EPS},
}


def tenants(scenario: Scenario, trace: Trace, seconds: float, seed: int) -> np.ndarray:
    """Shares of each tenant's events that were taken."""
    tenant = draw_offered(scenario.load, seconds, seed).keys % scenario.load.tenants
    offered = np.bincount(tenant, minlength=scenario.load.tenants)
    return np.bincount(tenant[trace.frame >= 0], minlength=scenario.load.tenants) / offered


def test_quotas_let_a_tenant_its_rate_and_its_burst() -> None:
    load = {"load.rate_eps": 200.0, "load.tenants": 2, "load.arrivals": "poisson"}
    rules = {"stations.batcher.admission": {"quotas": [{"tenant": 1, "rate_eps": 20.0, "burst_events": 30.0}]}}
    scenario = bare(load | rules)
    trace = play_both(scenario, seconds=10.0, seed=2)
    tenant = draw_offered(scenario.load, 10.0, 2).keys % 2
    assert (trace.frame[tenant == 0] >= 0).all()
    assert (trace.frame[tenant == 1] >= 0).sum() == pytest.approx(30 + 20 * 10, abs=2)
    assert set(np.unique(trace.frame[(tenant == 1) & (trace.frame < 0)])) == {EVENT_SHED}


def test_a_quota_of_keys_stops_a_hot_key_only() -> None:
    load = {"load.rate_eps": 200.0, "load.keys": 20, "load.key_skew": 2.0, "load.arrivals": "poisson"}
    rules = {"stations.batcher.admission": {"key_quota": {"rate_eps": 30.0, "burst_events": 20.0}}}
    scenario = bare(load | rules)
    trace = play_both(scenario, seconds=10.0, seed=2)
    taken = np.bincount(draw_offered(scenario.load, 10.0, 2).keys[trace.frame >= 0], minlength=20)
    offered = np.bincount(draw_offered(scenario.load, 10.0, 2).keys, minlength=20)
    assert taken[0] == pytest.approx(20 + 30 * 10, abs=3)
    assert offered[0] > 3 * taken[0]
    np.testing.assert_array_equal(taken[3:], offered[3:])


NOISY = {
    "load.rate_eps": 300.0,
    "load.tenants": 4,
    "load.tenant_weights": [27.0, 1.0, 1.0, 1.0],
    "load.arrivals": "poisson",
}


def test_a_noisy_tenant_starves_the_others_unless_they_have_a_guaranteed_share() -> None:
    """Tenant 0 offers 270 of 300 events/s to a log that takes 100; the other three offer 10 each."""
    plain = bare(NOISY | SLOW_LOG)
    trace = play_both(plain, seconds=10.0, seed=3)
    waited = event_times(plain, trace, "acked") - draw_offered(plain.load, 10.0, 3).intended_s
    assert np.nanmax(waited) > 5.0  # everybody waits behind the noisy one

    bounded: dict[str, Any] = {"max_in_flight_events": 40}
    scenario = bare(NOISY | SLOW_LOG | {"stations.batcher.admission": bounded})
    trace = play_both(scenario, seconds=10.0, seed=3)
    assert (tenants(scenario, trace, 10.0, 3) < 0.6).all()  # all are shed alike
    waited = event_times(scenario, trace, "acked") - draw_offered(scenario.load, 10.0, 3).intended_s
    assert np.nanmax(waited) < 1.0  # but nobody waits for long

    fair = bare(NOISY | SLOW_LOG | {"stations.batcher.admission": bounded | {"guaranteed": 1.0}})
    shares = tenants(fair, play_both(fair, seconds=10.0, seed=3), 10.0, 3)
    assert (shares[1:] > 0.9).all()
    assert shares[0] < 0.35


def test_strict_classes_shed_bronze_before_silver_before_gold() -> None:
    rules = {"max_in_flight_events": 60, "silver": [1], "bronze": [2]}
    load = {"load.rate_eps": 180.0, "load.tenants": 3, "load.arrivals": "poisson"}
    scenario = bare(load | SLOW_LOG | {"stations.batcher.admission": rules})
    gold, silver, bronze = tenants(scenario, play_both(scenario, seconds=10.0, seed=3), 10.0, 3)
    assert gold > 0.9
    assert gold > silver + 0.1
    assert silver > bronze + 0.1


def test_shed_events_are_counted_and_a_rule_that_never_bites_changes_nothing() -> None:
    never = bare({"load.rate_eps": 200.0, "stations.batcher.admission": {"max_in_flight_events": 1_000_000}})
    assert_equal(play_both(never, seconds=1.0, seed=1), play_both(bare({"load.rate_eps": 200.0}), seconds=1.0, seed=1))
    scenario = bare(NOISY | SLOW_LOG | {"stations.batcher.admission": {"max_in_flight_events": 40}})
    tables, manifest = simulate(scenario, seconds=5.0, warmup_s=0.0, seed=3)
    counters = manifest.counters
    assert counters["shed"] > 0
    assert counters["offered"] == counters["delivered"] + counters["lost"] + counters["shed"]
    assert tables.frames["events"].sum() == counters["received"]
    assert scenario_hash(parse_scenario(scenario_data(scenario))) == scenario_hash(scenario)


RETRY: dict[str, Any] = {"timeout_s": 0.5, "retries": 4}
# 70 of 100 events/s, and for two seconds 300.
OVERLOAD = {
    "load.steps": [
        {"rate_eps": 70.0, "seconds": 5.0},
        {"rate_eps": 300.0, "seconds": 2.0},
        {"rate_eps": 70.0, "seconds": 60.0},
    ],
    "load.arrivals": "poisson",
}


def waits(retry: dict[str, Any] | None, **changes: Any) -> tuple[np.ndarray, np.ndarray, Trace]:
    """Seconds until the first acknowledgement of events offered before the burst and in the last ten seconds of 60."""
    given_ = OVERLOAD | SLOW_GATE | changes | ({"stations.source.retry": retry} if retry else {})
    scenario = parse_scenario(_without_rate(scenario_data(bare()), given_))
    trace = play_both(scenario, seconds=60.0, seed=7)
    intended = prepare(scenario, seconds=60.0, seed=7).offered.intended_s
    waited = np.nan_to_num(event_times(scenario, trace, "acked") - intended, nan=np.inf)
    return waited[intended < 5.0], waited[intended > 50.0], trace


def _without_rate(data: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    data["load"].pop("rate_eps")
    for path, value in changes.items():
        *trail, last = path.split(".")
        place = data
        for name in trail:
            place = place[name]
        place[last] = value
    return data


def test_without_retries_a_burst_is_over_soon_after_it_is_over() -> None:
    before, after, trace = waits(None)
    assert np.median(before) < 0.1
    assert np.median(after) < 0.1
    assert len(trace.sends) == 0


def test_retries_keep_a_system_down_long_after_the_burst_that_brought_it_down() -> None:
    """Metastable failure (Bronson et al. 2021): the same load before the burst is served at once, after it never in time."""
    before, after, trace = waits(RETRY)
    assert np.median(before) < 0.1
    assert np.median(after) > 10 * RETRY["timeout_s"]
    sent = trace.sends.sum() / len(trace.sends)
    assert sent > 2.0  # offered once, sent more than twice on average
    assert trace.repeats.sum() > 0
    taken = trace.frame[trace.frame >= 0]
    np.testing.assert_array_equal(np.bincount(taken, minlength=len(trace.events)), trace.events)


def test_a_retry_budget_or_patience_lets_it_recover() -> None:
    before, after, trace = waits(RETRY | {"budget_ratio": 0.1})
    assert np.median(before) < 0.1
    assert np.median(after) < 0.2
    assert trace.sends.max() > 1
    assert trace.sends.sum() < 1.15 * len(trace.sends)
    _, after, _ = waits(RETRY | {"timeout_s": 8.0})  # longer than anybody waits after the burst
    assert np.median(after) < 0.1


def test_a_pause_before_the_only_retry_is_not_enough_where_twice_the_load_is_too_much() -> None:
    _, after, trace = waits({"timeout_s": 0.5, "retries": 1, "backoff": {"mean_s": 3.0}})
    assert np.median(after) > 5.0
    assert trace.sends.max() == 2


def test_what_is_refused_is_sent_again_until_there_is_room() -> None:
    scenario = bare(
        {
            "load.rate_eps": 50.0,
            "load.shape": [{"kind": "burst", "on": 9.0, "off": 0.5, "on_s": 0.2, "off_s": 3.8}],
            "stations.batcher.admission": {"max_in_flight_events": 10},
            "stations.source.retry": {"timeout_s": 5.0, "retries": 9, "backoff": {"mean_s": 0.3}},
        }
        | SLOW_LOG
    )
    trace = play_both(scenario, seconds=8.0, seed=1)
    assert (trace.frame >= 0).all()
    assert trace.sends.max() > 1
    assert trace.repeats.sum() == 0  # each message is one event: nothing of it had been taken
    impatient = scenario_data(scenario)
    impatient["stations"]["source"].pop("retry")
    assert (run(prepare(parse_scenario(impatient), seconds=8.0, seed=1)).frame == EVENT_SHED).any()


def test_repeats_cost_at_every_station_until_the_consumers_drop_them() -> None:
    """Every message is sent twice, since the log takes longer than the clients wait: the store sees each event once."""
    demand = {"event_s": 1e-4}
    changes = {
        "load.rate_eps": 20.0,
        "stations.source.retry": {"timeout_s": 0.01, "retries": 1},
        "stations.log.host": "box",
        "stations.log.append": {"job_s": 0.015},
        "stations.batcher.receive": demand,
        "stations.group.process": demand,
        "stations.group.calls": ["store"],
        "stations.store": {"kind": "store", "host": "ample", "demand": demand, "hop": "stored"},
    }
    scenario = bare(changes)
    trace = play_both(scenario, seconds=5.0, seed=1)
    assert (trace.sends == 2).all()
    assert trace.repeats.sum() == trace.events.sum() == 100
    cpu = dict(zip(("source", "batcher", "log-1", "group", "store"), trace.cpu_s.sum(axis=1), strict=True))
    assert cpu["batcher"] == pytest.approx(200e-4)
    assert cpu["group"] == pytest.approx(200e-4)
    assert cpu["store"] == pytest.approx(100e-4)


RULES = {
    "two classes": (
        {"max_in_flight_events": 5, "silver": [1], "bronze": [1]},
        "one class, not [1] in silver and bronze",
    ),
    "two quotas": ({"quotas": [{"tenant": 0, "rate_eps": 1.0, "burst_events": 1.0}] * 2}, "one quota a tenant"),
    "no bound": ({"guaranteed": 0.5}, "must have max_in_flight_events with classes"),
    "foreign tenant": (
        {"max_in_flight_events": 5, "silver": [20]},
        "must name tenants 0 to 19, got [20]; raise load.tenants",
    ),
    "few weights": ({"max_in_flight_events": 5, "weights": [1.0]}, "must be of all 20 tenants, got 1"),
}


@pytest.mark.parametrize(("rules", "message"), RULES.values(), ids=RULES)
def test_rules_that_make_no_sense_are_refused(rules: dict[str, Any], message: str) -> None:
    with pytest.raises(ScenarioError, match=r"must (have|name|be)") as caught:
        bare({"stations.batcher.admission": rules})
    assert message in str(caught.value)


@settings(max_examples=40, deadline=None)
@given(scenario=scenarios(), seed=st.integers(0, 2**32 - 1))
def test_every_event_is_taken_shed_or_still_on_its_way(scenario: Scenario, seed: int) -> None:
    trace = play_both(scenario, seconds=0.3, seed=seed)
    taken = (trace.frame >= 0).sum()
    assert taken + (trace.frame == EVENT_SHED).sum() + (trace.frame == NOT_TAKEN).sum() == len(trace.frame)
    assert taken == trace.events.sum()
    if len(trace.sends):
        sizes = np.bincount(prepare(scenario, seconds=0.3, seed=seed).offered.message, minlength=len(trace.sends))
        assert trace.events.sum() + trace.repeats.sum() <= (sizes * trace.sends).sum()

"""Releases of a pool: who works on what, what is wrong with a canary and where it shows; both engines alike."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from sentra_sim.engine import Change, Trace, prepare, simulate
from sentra_sim.errors import InputError, ScenarioError
from sentra_sim.scenario import Scenario
from sentra_sim.scenario.keys import PLACES, places_of
from tests.pipelines import bare, event_times, sentra
from tests.property.test_engines_equal import play_both

EVENT_S = 1e-4


def pool(canary: dict[str, Any], **changes: Any) -> Scenario:
    return bare(
        {
            "load.rate_eps": 2000.0,
            "load.keys": 500,
            "load.key_skew": 0.0,
            "stations.batcher.max_events": 20,
            "stations.group.calls": ["pricing"],
            "stations.pricing": {
                "kind": "pool",
                "host": "ample",
                "demand": {"event_s": EVENT_S},
                "hop": "priced",
                "releases": {"canary": {"weight": 0.3} | canary},
            }
            | changes,
        }
    )


def play(canary: dict[str, Any], *changes: Change, **keys: Any) -> Trace:
    return play_both(pool(canary, **keys), seconds=1.0, seed=2, changes=changes)


def of(trace: Trace, release: int) -> np.ndarray:
    return trace.release_jobs[trace.release_jobs["release"] == release]


def test_a_key_is_the_canarys_when_its_place_lies_below_the_weight() -> None:
    scenario = pool({})
    plan = prepare(scenario, seconds=1.0, seed=2)
    trace = play({})
    mine = places_of(plan.offered.keys) < round(0.3 * PLACES)
    np.testing.assert_array_equal(np.bincount(trace.frame[mine], minlength=len(trace.events)), trace.canary_events)
    assert 0.2 < trace.canary_events.sum() / trace.events.sum() < 0.4
    assert of(trace, 1)["events"].sum() == mine.sum()


def test_a_slower_release_costs_its_factor_and_only_on_its_own_events() -> None:
    trace = play({"factor": 4.0}, shadow_share=0.0)
    stable, canary = of(trace, 0), of(trace, 1)
    np.testing.assert_allclose(stable["cpu_s"] / stable["events"], EVENT_S)
    np.testing.assert_allclose(canary["cpu_s"] / canary["events"], 4 * EVENT_S)
    np.testing.assert_allclose(canary["duration_s"], canary["cpu_s"])  # cores are ample


def test_a_tail_hits_a_share_of_the_jobs() -> None:
    canary = of(play({"tail_share": 0.2, "tail_factor": 25.0}, shadow_share=0.0), 1)
    slow = canary["cpu_s"] / canary["events"] > 2 * EVENT_S
    assert 0.05 < slow.mean() < 0.4
    np.testing.assert_allclose(canary["cpu_s"][slow] / canary["events"][slow], 25 * EVENT_S)


def test_what_a_canary_fails_stable_works_on_and_it_takes_effect_once() -> None:
    scenario = pool({"errors": 0.5}, delay={"mean_s": 0.003})
    trace = play_both(scenario, seconds=1.0, seed=2)
    canary = of(trace, 1)
    failed = canary["failed"] == 1
    assert 0.3 < failed.mean() < 0.7
    assert trace.canary_events.sum() == canary["events"][~failed].sum()
    assert np.isfinite(event_times(scenario, trace, "priced")).all()
    plan, priced = prepare(scenario, seconds=1.0, seed=2), trace.hops_s[:, -1] - trace.hops_s[:, -2]
    assert priced.max() > priced.min() + 0.003  # the second request takes its own way
    assert len(plan.place) == len(trace.frame)


def test_a_cold_cache_warms_up_with_its_events() -> None:
    canary = of(play({"cold_events": 100, "cold_factor": 10.0}, shadow_share=0.0), 1)
    each_s = canary["cpu_s"] / canary["events"]
    assert each_s[0] == pytest.approx(10 * EVENT_S)
    assert each_s[np.cumsum(canary["events"]) - canary["events"] >= 100] == pytest.approx(EVENT_S)


def test_a_release_that_is_started_anew_is_cold_again_and_has_leaked_nothing() -> None:
    trace = play(
        {"cold_events": 100, "cold_factor": 10.0, "leak_per_s": 1.0},
        Change(0.6, "start", "pricing/canary"),
        shadow_share=0.0,
    )
    canary = of(trace, 1)
    each_s = canary["cpu_s"] / canary["events"] / EVENT_S
    again = canary["at_s"].searchsorted(0.63)
    assert 1.5 < each_s[again - 6] < 1.7
    assert each_s[again : again + 2] == pytest.approx(10.0, rel=0.1)
    assert each_s[-1] == pytest.approx(1.4, rel=0.02)


def test_a_leak_makes_a_release_slower_the_longer_it_runs() -> None:
    canary = of(play({"leak_per_s": 2.0}, shadow_share=0.0), 1)
    each_s = canary["cpu_s"] / canary["events"]
    assert each_s[-1] / each_s[0] > 2.5
    assert (np.diff(each_s) > 0.0).all()


def test_a_release_that_waits_takes_time_without_cpu() -> None:
    trace, plain = play({"wait_s": 0.04}), play({})
    assert of(trace, 1)["duration_s"].min() > 0.04
    assert trace.cpu_s.sum() == pytest.approx(plain.cpu_s.sum())
    assert trace.poll.max() < plain.poll.max()  # the consumer waits, so its polls are fuller


def test_the_shadow_check_sees_a_share_of_the_wrong_results_and_costs_cpu() -> None:
    canary = of(play({"wrong": 0.2}), 1)
    checked, wrong = canary["checked"].sum(), canary["wrong"].sum()
    assert 0.05 < checked / canary["events"].sum() < 0.15
    assert 0.1 < wrong / checked < 0.35
    np.testing.assert_allclose(canary["cpu_s"], EVENT_S * (canary["events"] + canary["checked"]))
    assert of(play({}), 1)["wrong"].sum() == 0


def test_weights_change_while_it_runs_and_a_release_begins_when_it_first_gets_some() -> None:
    changes = (Change(0.4, "weight", "pricing/canary", 0.5), Change(0.8, "weight", "pricing/canary", 0.0))
    trace = play({"weight": 0.0, "leak_per_s": 1.0}, *changes, shadow_share=0.0)
    canary = of(trace, 1)
    assert 0.4 <= canary["at_s"].min() < 0.45
    assert 0.75 < canary["at_s"].max() < 0.85
    assert (
        canary["cpu_s"][0] / canary["events"][0] < 1.05 * EVENT_S
    )  # not 1.4: it has run since then, not since the load's start
    assert 0.4 < canary["events"].sum() / (canary["events"].sum() + of(trace, 0)["events"].sum()) < 0.6


def test_a_run_tells_by_release_what_a_recorded_one_tells() -> None:
    tables, _ = simulate(pool({"factor": 4.0, "errors": 0.2, "wrong": 0.3}), seconds=1.0, warmup_s=0.0, seed=2)
    rows = tables.metrics.filter(pl.col("name").str.starts_with("sentra_release_"))
    sums = {
        (name, labels): value
        for name, labels, value in rows.group_by("name", "labels").agg(pl.col("value").sum()).rows()
    }
    stable, canary = 'release="stable"', 'release="canary"'
    trace = play({"factor": 4.0, "errors": 0.2, "wrong": 0.3})
    jobs = trace.release_jobs
    assert sums["sentra_release_errors", canary] == jobs["failed"].sum()
    assert sums["sentra_release_shadow_wrong", canary] == jobs["wrong"].sum()
    assert sums["sentra_release_events", stable] == jobs["events"][jobs["release"] == 0].sum()
    assert sums["sentra_release_cpu_seconds", canary] / sums["sentra_release_events", canary] > 3 * EVENT_S
    assert sums["sentra_release_job_seconds", f'{canary},quantile="1"'] > 0.0
    most = np.where(2 * trace.canary_events > trace.events, "canary", "stable")  # of a frame's events
    assert tables.frames["release"].to_list() == most.tolist()
    assert set(most) == {"canary", "stable"}


def test_sentra_with_a_canary_is_the_same_in_both_engines() -> None:
    canary = {"weight": 0.2, "factor": 2.0, "tail_share": 0.1, "tail_factor": 5.0, "errors": 0.1, "wrong": 0.1}
    changes = [Change(0.5, "weight", "pricing/canary", 0.6)]
    play_both(sentra({"stations.pricing.releases": {"canary": canary}}), seconds=1.0, seed=3, changes=changes)


def test_a_scenario_or_a_change_that_cannot_be_says_why() -> None:
    with pytest.raises(ScenarioError, match="must give weight to one release at most, got canary, other"):
        pool({}, releases={"canary": {"weight": 0.1}, "other": {"weight": 0.1}})
    with pytest.raises(ScenarioError, match="stable: must be another name"):
        pool({}, releases={"stable": {}})
    with pytest.raises(InputError, match="must be of a release, got 'pricing/canery'; valid names: pricing/canary"):
        play({}, Change(0.1, "weight", "pricing/canery", 0.1))
    with pytest.raises(InputError, match="must be from 0 to 1, got 2"):
        play({}, Change(0.1, "weight", "pricing/canary", 2.0))

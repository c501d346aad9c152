"""Where two parts of the model meet: a stopped consumer and its group, a host and what runs on it, failures in stores of all kinds."""

from typing import Any

import numpy as np
import pytest

from sentra_sim.engine import Change
from sentra_sim.engine.trace import DLQ, DUPLICATE, OK, SHED
from tests.pipelines import bare, hop_times
from tests.property.test_engines_equal import play_both
from tests.property.test_group import group, play


@pytest.mark.parametrize("rebalance", ["eager", "cooperative", "static"])
def test_a_consumer_stopped_for_longer_than_its_session_loses_its_partitions_and_joins_again(rebalance: str) -> None:
    """Consumer 2 stops for 1 s, its session lasts 0.5 s: after that consumer 1 has all partitions, until it goes on."""
    scenario = group(rebalance=rebalance)
    stop = [Change(0.5, "pause", "group-2"), Change(1.5, "resume", "group-2")]
    trace = play(scenario, *stop)
    started = hop_times(scenario, trace, "started")
    of_second = trace.partition % 2 == 1
    silent = of_second & (started > 0.502) & (started < 0.9)
    assert not silent.any()
    assert (of_second & (started > 1.2) & (started < 1.5)).any()
    short = play(scenario, Change(0.5, "pause", "group-2"), Change(0.7, "resume", "group-2"))
    started = hop_times(scenario, short, "started")
    assert not (of_second & (started > 0.502) & (started < 0.7)).any()
    assert (short.attempts == 1).all()  # it goes on with what it was at
    assert set(short.outcome) == {OK}


def test_what_a_stopped_consumer_was_at_is_taken_again_when_its_session_is_over() -> None:
    scenario = group(rate_eps=100.0, process={"job_s": 0.05})
    trace = play(scenario, Change(0.52, "pause", "group-2"), Change(1.5, "resume", "group-2"), seconds=1.0)
    assert (trace.attempts == 2).any()


def test_a_stopped_consumer_makes_no_further_call() -> None:
    """It stops while the first of two stores works: the second one is not called before it goes on."""
    stores = {
        f"stations.{name}": {"kind": "store", "host": "ample", "hop": name, "delay": {"mean_s": 0.01}}
        for name in ("first", "second")
    }
    scenario = bare({"load.rate_eps": 10.0, "stations.group.calls": ["first", "second"]} | stores)
    stop = [Change(0.005, "pause", "group-1"), Change(0.5, "resume", "group-1")]
    trace = play_both(scenario, seconds=0.05, seed=1, changes=stop)
    assert hop_times(scenario, trace, "first") == pytest.approx([0.01], abs=1e-9)
    assert hop_times(scenario, trace, "second") == pytest.approx([0.51], abs=1e-9)


def test_a_host_that_goes_down_takes_its_brokers_and_consumers_along() -> None:
    """While the log's host is down nothing is acknowledged; when it is up again, and its brokers have started, all is."""
    placed = {"hosts.other": {"cores": 64}, "stations.log.host": "other", "stations.log.session_timeout_s": 0.2}
    scenario = bare(placed | {"load.rate_eps": 100.0, "stations.log.restart_s": 0.3, "stations.log.controller": 0})
    trace = play_both(
        scenario, seconds=2.0, seed=1, changes=[Change(0.503, "host-down", "other"), Change(1.003, "host-up", "other")]
    )
    acked = hop_times(scenario, trace, "acked")
    assert not ((acked > 0.503) & (acked < 1.303)).any()
    assert (trace.outcome == OK).all()
    consumers = group(host="box", session_timeout_s=0.2)
    down = [Change(0.503, "host-down", "box"), Change(1.003, "host-up", "box")]
    trace = play_both(consumers, seconds=2.0, seed=4, changes=down)
    started = hop_times(consumers, trace, "started")
    assert not ((started > 0.503) & (started < 1.05)).any()
    assert set(trace.outcome) <= {OK, DUPLICATE}


STORES: dict[str, dict[str, Any]] = {
    "served": {},
    "with connections": {"connections": 2},
    "flushing": {"flush_s": 0.01},
    "columnar": {"flush_s": 0.01, "max_replicas": 2},
    "with a relay": {"relay": {"poll_s": 0.01}},
}


@pytest.mark.parametrize("keys", STORES.values(), ids=STORES)
def test_a_call_that_fails_has_no_effect_whatever_the_store_is(keys: dict[str, Any]) -> None:
    store = {"kind": "store", "host": "ample", "hop": "stored", "failure": 1.0, "to": ["behind"]} | keys
    behind = {"kind": "store", "host": "ample", "hop": "copied"}
    calls = {"stations.group.calls": ["store"], "stations.store": store, "stations.behind": behind}
    scenario = bare({"load.rate_eps": 50.0, "stations.group.retry": {"attempts": 2, "base_s": 0.001}} | calls)
    trace = play_both(scenario, seconds=0.5, seed=1, changes=[Change(0.25, "failure", "store", 0.0)])
    received = hop_times(scenario, trace, "received")
    assert (trace.outcome[received < 0.12] == DLQ).all()
    assert (trace.outcome[received > 0.35] == OK).all()
    assert np.isnan(hop_times(scenario, trace, "copied")[received < 0.12]).all()


def test_what_the_producer_gives_up_makes_room_at_the_gate() -> None:
    """The log is dead: of 10 events in flight none is acknowledged, but the producer sheds them, and others may come."""
    keys = {"delivery_timeout_s": 0.2, "retry_backoff_s": 0.05, "retry_backoff_max_s": 0.05}
    scenario = bare(
        {"load.rate_eps": 100.0, "stations.batcher.admission": {"max_in_flight_events": 10}}
        | {f"stations.log.{key}": value for key, value in keys.items()}
    )
    trace = play_both(scenario, seconds=1.0, seed=1, changes=[Change(0.0, "kill", "log-1")])
    assert (trace.outcome == SHED).sum() > 20
    assert (trace.frame >= 0).sum() > 20


def test_calls_of_a_pool_with_releases_are_all_told_however_often_they_are_made() -> None:
    """Every call fails and is made again eight times: each time both releases have a part in it."""
    pool = {"kind": "pool", "host": "ample", "hop": "priced", "failure": 1.0, "demand": {"event_s": 1e-5}}
    pool["releases"] = {"canary": {"weight": 0.5}}
    keys = {"stations.group.calls": ["pool"], "stations.pool": pool, "stations.group.max_poll_events": 1}
    retry = {"stations.group.retry": {"attempts": 9, "base_s": 0.0}}
    scenario = bare({"load.rate_eps": 2000.0, "load.key_skew": 0.0} | keys | retry)
    trace = play_both(scenario, seconds=1.0, seed=1)
    assert len(trace.release_jobs) > 2 * (len(trace.events) + 1024)

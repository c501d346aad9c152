"""Replication by pull: what followers fetch, when the leader knows, and what that does to acknowledgements."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from sentra_sim.engine import Change, Trace, prepare, run
from sentra_sim.engine.run import Engine
from sentra_sim.engine.trace import LOST, OK
from sentra_sim.scenario import processes
from tests.pipelines import bare, hop_times

THREE = {
    "load.rate_eps": 20.0,
    "stations.log.partitions": 3,
    "stations.log.brokers": 3,
    "stations.log.replication_factor": 3,
    "stations.log.min_insync_replicas": 2,
    "stations.log.replication": {"mean_s": 0.004},
    "stations.log.replicate": {"job_s": 100e-6},
}
PULL = {"stations.log.replicate_by": "pull"}


def play(keys: dict[str, Any], changes: Sequence[Change] = (), engine: Engine = "compiled") -> Trace:
    return run(prepare(bare(THREE | keys), seconds=3.0, seed=1), engine=engine, changes=changes)


def since_closed_s(trace: Trace, hop: str) -> np.ndarray:
    return hop_times(bare(THREE), trace, hop) - trace.hops_s[:, 1]


def cpu_s(trace: Trace) -> float:
    return float(trace.cpu_s[[name.startswith("log-") for name in processes(bare(THREE))]].sum())


def test_alone_on_the_log_a_request_is_acknowledged_as_soon_by_pull_as_by_push() -> None:
    push, pull = (since_closed_s(play(keys), "acked") for keys in ({}, PULL))
    np.testing.assert_allclose(pull, push, atol=1e-9)
    assert np.median(pull) == pytest.approx(4.1e-3)


def test_under_load_what_comes_while_a_fetch_is_away_waits_for_the_next_one() -> None:
    busy = {"load.rate_eps": 1500.0}
    push, pull = play(busy), play(busy | PULL)
    waits_s = [since_closed_s(trace, "acked") for trace in (push, pull)]
    assert np.median(waits_s[0]) < 4.3e-3
    assert np.median(waits_s[1]) == pytest.approx(1.5 * 4.1e-3, rel=0.05)  # half a fetch's way more
    assert waits_s[1].max() < 2.1 * 4.3e-3
    assert cpu_s(pull) < 0.6 * cpu_s(push)  # by far fewer jobs of followers


def test_a_least_size_of_replicas_fetches_is_paid_by_acks_all_alone() -> None:
    patient = PULL | {"stations.log.replica_fetch_min_bytes": 10_000, "stations.log.replica_fetch_wait_s": 0.3}
    assert 0.1 < np.mean(since_closed_s(play(patient), "acked")) < 0.31
    assert since_closed_s(play(patient | {"stations.log.acks": "leader"}), "acked").max() < 1e-3


def test_consumers_wait_for_the_high_watermark_which_a_fetch_moves() -> None:
    keys = PULL | {"stations.log.acks": "leader", "stations.log.high_watermark": True}
    trace = play(keys | {"stations.log.replica_fetch_min_bytes": 10_000, "stations.log.replica_fetch_wait_s": 0.3})
    assert since_closed_s(trace, "acked").max() < 1e-3
    assert 0.1 < np.mean(since_closed_s(trace, "started")) < 0.31


def test_a_broker_that_dies_takes_its_fetches_along_and_nothing_that_was_acknowledged() -> None:
    changes = [Change(0.503, "kill", "log-2"), Change(0.7, "start", "log-2"), Change(1.5, "partition", "log-3")]
    short = {"stations.log.session_timeout_s": 0.5, "stations.log.restart_s": 0.1, "load.rate_eps": 200.0}
    trace = play(PULL | short, [*changes, Change(2.2, "heal", "log-3")])
    assert not (trace.outcome == LOST).any()
    assert (trace.outcome == OK).all()
    assert np.median(since_closed_s(trace, "acked")[trace.hops_s[:, 0] > 2.6]) < 9e-3  # three replicas again


def test_with_acks_leader_a_dead_leader_loses_what_no_follower_had_fetched() -> None:
    keys = {"load.rate_eps": 1500.0, "stations.log.acks": "leader", "stations.log.high_watermark": True}
    lost = [(play(keys | more, [Change(0.5, "kill", "log-1")]).outcome == LOST).sum() for more in ({}, PULL)]
    assert lost[0] <= 1
    assert lost[1] > 2

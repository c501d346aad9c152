"""What users see of fetches that wait at the broker: fewer and fuller polls, and what that costs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from sentra_sim.engine import Change, Trace, prepare, run
from sentra_sim.engine.run import Engine
from sentra_sim.engine.trace import LOST, OK
from sentra_sim.errors import ScenarioError
from tests.pipelines import bare, hop_times

KEYS = {
    "load.rate_eps": 100.0,
    "stations.log.partitions": 4,
    "stations.log.brokers": 2,
    "stations.log.replication_factor": 2,
    "stations.group.fetch_max_wait_s": 0.2,
}


def play(keys: dict[str, Any], changes: Sequence[Change] = (), engine: Engine = "compiled") -> Trace:
    return run(prepare(bare(KEYS | keys), seconds=10.0, seed=1), engine=engine, changes=changes)


def waits_s(trace: Trace) -> np.ndarray:
    return hop_times(bare(KEYS), trace, "started") - hop_times(bare(KEYS), trace, "acked")


def min_bytes(count: int, **load: Any) -> dict[str, Any]:
    return {"stations.group.fetch_min_bytes": count, **{f"load.{key}": value for key, value in load.items()}}


def test_a_consumer_that_asks_for_more_polls_less_often_and_later() -> None:
    at_once, patient = play({}), play(min_bytes(640))
    assert at_once.poll.max() + 1 == 1000
    assert patient.poll.max() + 1 < 150
    assert waits_s(at_once).max() == 0.0
    assert waits_s(patient).mean() > 0.05


def test_nothing_waits_for_longer_than_a_fetch_may() -> None:
    trace = play(min_bytes(10**9))
    assert 0.19 < waits_s(trace).max() <= 0.2 + 1e-9
    assert (trace.outcome == OK).all()


def test_under_load_the_bytes_are_there_before_the_wait_is_over() -> None:
    slow, busy = play(min_bytes(640)), play(min_bytes(640, rate_eps=2000.0))
    assert waits_s(busy).mean() < 0.1 * waits_s(slow).mean()
    per_poll = len(busy.events) / (busy.poll.max() + 1)
    assert 9.0 < per_poll < 11.0  # ten events of 64 bytes make the least


def test_each_broker_is_asked_by_itself() -> None:
    """Twice the brokers share the same load: what comes to each takes twice as long to be enough."""
    keys = min_bytes(640, rate_eps=400.0) | {"stations.log.replication_factor": 1}
    one, two = (play(keys | {"stations.log.brokers": brokers}) for brokers in (1, 2))
    assert waits_s(two).mean() == pytest.approx(2.0 * waits_s(one).mean(), rel=0.25)


def test_what_a_broker_holds_when_it_dies_comes_from_the_next_leader() -> None:
    keys = min_bytes(10**9) | {"stations.log.session_timeout_s": 0.5, "stations.group.fetch_max_wait_s": 1.0}
    trace = play(keys, [Change(5.05, "kill", "log-1")])
    assert not (trace.outcome == LOST).any()
    assert np.isfinite(hop_times(bare(KEYS), trace, "started")).all()


def test_only_a_least_size_and_a_wait_above_zero_make_sense() -> None:
    for key in ("fetch_min_bytes", "fetch_max_wait_s"):
        with pytest.raises(ScenarioError, match=f"{key}: must be greater than 0"):
            bare({f"stations.group.{key}": 0})

"""What a log deletes, and what a consumer that comes too late loses by it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from sentra_sim.engine import Change, Trace, prepare, run
from sentra_sim.engine.run import Engine
from sentra_sim.engine.trace import LOST, OK
from tests.pipelines import bare, hop_times

BASE = {
    "load.rate_eps": 50.0,
    "stations.log.segment_bytes": 640,
    "stations.log.retention_check_s": 0.1,
    "stations.group.heartbeat_s": 0.1,
}
AWAY = [
    Change(2.0, "replicas", "group", 0),
    Change(6.0, "replicas", "group", 1),
]  # nobody polls from 2.0 to 6.6 s or 6.7 s
BY_TIME = {"stations.log.retention_s": 1.0}
EARLIEST = {"stations.group.offset_reset": "earliest"}


def play(keys: dict[str, Any], changes: Sequence[Change] = AWAY, engine: Engine = "compiled") -> Trace:
    return run(prepare(bare(BASE | keys), seconds=8.0, seed=1), engine=engine, changes=changes)


def lost_of(trace: Trace) -> np.ndarray:
    """Returns when the frames that were lost had been acknowledged."""
    return hop_times(bare(BASE), trace, "acked")[trace.outcome == LOST]


def test_without_retention_a_group_that_was_away_loses_nothing() -> None:
    trace = play({})
    assert (trace.outcome == OK).all()


def test_a_consumer_that_keeps_up_never_sees_what_is_deleted() -> None:
    trace = play(BY_TIME | {"stations.log.retention_bytes": 640}, changes=())
    assert (trace.outcome == OK).all()


def test_from_the_earliest_on_only_what_was_deleted_is_lost() -> None:
    trace = play(BY_TIME | EARLIEST)
    lost_s = lost_of(trace)
    assert 2.0 <= lost_s.min() < 2.1
    assert 5.2 < lost_s.max() < 5.75  # what is younger than a second when the group comes back is there
    assert len(lost_s) + (trace.outcome == OK).sum() == len(trace.events) == 400  # conserved


def test_from_the_latest_on_all_that_had_come_by_then_is_lost() -> None:
    earliest, latest = (lost_of(play(BY_TIME | more)) for more in (EARLIEST, {}))
    assert len(latest) > len(earliest) + 20
    assert 6.5 < latest.max() < 6.75


def test_a_log_limited_by_bytes_keeps_its_last_segments() -> None:
    """Of 4.6 s at 50 events/s of 64 bytes the last 6.4 kB, 100 events, are kept, and what a segment holds beside."""
    trace = play({"stations.log.retention_bytes": 6_400} | EARLIEST)
    there = 50.0 * 4.65 - len(lost_of(trace))
    assert 95 < there < 125


def test_longer_retention_loses_less() -> None:
    lost = [len(lost_of(play({"stations.log.retention_s": keep_s} | EARLIEST))) for keep_s in (0.5, 1.0, 2.0, 10.0)]
    assert lost == sorted(lost, reverse=True)
    assert lost[0] > lost[1] > lost[2] > lost[3] == 0


def test_a_looser_watch_deletes_later() -> None:
    lost = [
        len(lost_of(play(BY_TIME | EARLIEST | {"stations.log.retention_check_s": check_s}))) for check_s in (0.1, 3.0)
    ]
    assert lost[1] < lost[0]


@pytest.mark.parametrize("engine", ["reference"])
def test_lag_is_what_is_not_taken_whether_it_is_there_or_not(engine: Engine) -> None:
    from sentra_sim.engine import start

    simulation = start(prepare(bare(BASE | BY_TIME | EARLIEST), seconds=8.0, seed=1), engine=engine)
    for change in AWAY:
        simulation.advance(change.at_s)
        simulation.apply(change)
    assert simulation.lag_events == 200
    simulation.advance(9.0)
    assert simulation.lag_events == 0

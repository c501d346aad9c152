"""Rows that a streaming run must not use again: of a poll whose consumer was killed while a station was at it."""

import numpy as np
import pytest

from sentra_sim.engine import Change, prepare
from sentra_sim.engine.compiled import supply, windows
from sentra_sim.engine.compiled.simulation import CompiledSimulation
from sentra_sim.engine.compiled.sinks import StatisticsSink
from tests.pipelines import bare, hop_times
from tests.property.test_engines_equal import play_both

FIRST_AGAIN = 101  # the frame of the event of 0.505 s


def test_the_poll_of_a_killed_consumer_is_kept_while_a_station_is_at_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer takes a second; meanwhile the same frames come to all their hops with a poll that takes none."""
    monkeypatch.setattr(windows, "AMPLE_BYTES", 0)  # rows are used again as soon as they can be
    monkeypatch.setattr(supply, "FIRST_ROWS", 2)
    scenario = bare(
        {
            "load.rate_eps": 200.0,
            "hosts.far": {"cores": 64},
            "stations.group.rebalance": "static",
            "stations.group.ready_s": 0.001,
            "stations.group.join_s": 0.0,
            "stations.group.calls": ["store"],
            "stations.store": {"kind": "store", "host": "far", "hop": "stored"},
        }
    )
    changes = [
        Change(0.501, "slow", "far", 1.0),
        Change(0.551, "slow", "far", 0.0),
        Change(0.551, "kill", "group-1"),
        Change(0.552, "start", "group-1"),
    ]
    plan = prepare(scenario, seconds=3.0, seed=1, keep=False)
    streaming = CompiledSimulation(plan, StatisticsSink(plan, (0.0, 3.0), "stored"))
    for change in changes:
        streaming.advance(change.at_s)
        streaming.apply(change)
    streaming.advance(1.4)
    frames, kept = (int(streaming.tables.state[name][0]) for name in ("frames", "frame_kept"))

    assert frames > 250
    assert (
        50 < kept <= FIRST_AGAIN
    )  # those before were given up; the answer that is on its way will look for the others

    trace = play_both(scenario, seconds=3.0, seed=1, changes=changes)
    again = np.flatnonzero(trace.attempts > 1)
    assert again[0] == FIRST_AGAIN
    assert (hop_times(scenario, trace, "stored")[again] < 0.6).all()  # by the second poll

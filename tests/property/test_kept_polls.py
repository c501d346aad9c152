"""Rows that a streaming run must not use again: of polls whose consumer was killed while stations were at them."""

import numpy as np
import pytest

from sentra_sim.engine import Change
from sentra_sim.engine.compiled import supply, windows
from tests.pipelines import sentra
from tests.property.test_engines_equal import play_both


def test_polls_of_killed_consumers_are_kept_while_stations_are_at_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store gathers what is brought twice: the first poll completes the frames, the second lies there still."""
    monkeypatch.setattr(windows, "AMPLE_BYTES", 0)  # rows are used again as soon as they can be
    monkeypatch.setattr(supply, "FIRST_ROWS", 2)
    changes = {
        "load.rate_eps": 5_000.0,
        "stations.worker.ready_s": 0.005,
        "stations.worker.rebalance": "static",
        "stations.worker.join_s": 0.0,
        "stations.worker.finish": {"job_s": 0.02},
        "stations.gateway.max_events": 20,
        "stations.clickhouse": {"kind": "store", "host": "box", "flush_s": 0.02, "hop": "clickhouse"},
    }
    kills = [
        Change(at_s + late_s, operation, "worker-1")
        for at_s in np.arange(0.1, 2.5, 0.0501).tolist()
        for operation, late_s in (("kill", 0.0), ("start", 0.001))
    ]
    trace = play_both(sentra(changes), seconds=3.0, seed=1, changes=kills)
    assert (trace.attempts > 1).sum() > 20

"""Pipelines for tests of the engines: Sentra's own with changes, and a bare one in which nothing costs anything."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sentra_sim.engine import Trace
from sentra_sim.scenario import Scenario, hop_edges, load_scenario, parse_scenario, scenario_data

SENTRA = Path(__file__).parents[1] / "data" / "scenarios" / "sentra.yaml"

# Every event is a frame and a message of its own; all stations but those that a test changes are free and never wait for a core.
BARE: dict[str, Any] = {
    "name": "bare",
    "load": {"rate_eps": 10.0, "arrivals": "constant", "tick_s": 0.0, "keys": 100},
    "hosts": {"ample": {"cores": 64}, "box": {"cores": 1}},
    "stations": {
        "source": {"kind": "source", "host": "ample", "to": "batcher"},
        "batcher": {"kind": "batcher", "host": "ample", "max_events": 1, "linger_s": 0.01, "to": "log"},
        "log": {
            "kind": "log",
            "host": "ample",
            "partitions": 1,
            "brokers": 1,
            "replication_factor": 1,
            "min_insync_replicas": 1,
            "in_flight": 1_000_000,
            "to": "group",
        },
        "group": {"kind": "consumer_group", "host": "ample"},
    },
}


def bare(changes: Mapping[str, Any] = {}) -> Scenario:
    """Returns the bare pipeline with values at dotted paths changed or added."""
    return _changed(BARE, changes)


def sentra(changes: Mapping[str, Any] = {}) -> Scenario:
    """Returns Sentra's own pipeline with values at dotted paths changed or added."""
    return _changed(scenario_data(load_scenario(SENTRA)), changes)


def hop_times(scenario: Scenario, trace: Trace, hop: str) -> np.ndarray:
    """Returns when each frame reached a hop, shape (frames,), in seconds."""
    return trace.hops_s[:, [edge.hop for edge in hop_edges(scenario)].index(hop)]


def event_times(scenario: Scenario, trace: Trace, hop: str) -> np.ndarray:
    """Returns when each offered event reached a hop, shape (events,), in seconds; NaN for those that no frame took."""
    times = np.append(hop_times(scenario, trace, hop), [np.nan, np.nan])  # frames EVENT_SHED and NOT_TAKEN
    return times[trace.frame]


def _changed(base: Mapping[str, Any], changes: Mapping[str, Any]) -> Scenario:
    data = copy.deepcopy(dict(base))
    for path, value in changes.items():
        *trail, last = path.split(".")
        place = data
        for name in trail:
            place = place.setdefault(name, {})
        place[last] = copy.deepcopy(value)
    return parse_scenario(data)

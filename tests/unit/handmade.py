"""A run small enough to know every number of it by heart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sentra_sim.records import CpuSeries, Manifest, Run, Tables, frame_schema, hop_column, metrics_table
from sentra_sim.scenario import Scenario, hop_edges, parse_scenario, processes, scenario_data, scenario_hash
from sentra_sim.units import MS_PER_S, NS_PER_S

NS_PER_MS = NS_PER_S // int(MS_PER_S)

# Producer → log → worker → store: hops made, closed, acked, started, stored.
PIPELINE: dict[str, Any] = {
    "schema_version": 1,
    "name": "small",
    "load": {"rate_eps": 100, "keys": 10, "tenants": 1},
    "hosts": {"box": {"cores": 1}},
    "stations": {
        "producer": {"kind": "source", "host": "box", "to": "batcher"},
        "batcher": {"kind": "batcher", "host": "box", "hops": ["made", "closed"], "to": "log"},
        "log": {"kind": "log", "host": "box", "partitions": 1, "hop": "acked", "to": "worker"},
        "worker": {"kind": "consumer_group", "host": "box", "calls": ["store"], "hop": "started"},
        "store": {"kind": "store", "host": "box", "hop": "stored"},
    },
    "kpis": {"e2e": {"from": "intended", "to": "stored"}},
}


def small_scenario(slo: Mapping[str, Mapping[str, float]] | None = None) -> Scenario:
    """Returns the small pipeline with an SLO."""
    return parse_scenario(PIPELINE | {"slo": dict(slo or {})})


def small_run(
    path: Path,
    latencies_ms: Sequence[float | None],
    *,
    slo: Mapping[str, Mapping[str, float]] | None = None,
    outcomes: Sequence[str] | None = None,
    warmup_s: float = 0.0,
    seconds: float | None = None,
    rate_eps: float = 100.0,
    cpu_cores: float = 0.0,
) -> Run:
    """Builds a run of one-event frames, the first intended at 0, one each 10 ms, stored `latencies_ms` later (None: never).

    The four hops before `stored` take 1 ms each. Every process is busy for `cpu_cores` of each second.
    """
    scenario = small_scenario(slo)
    count = len(latencies_ms)
    intended_ms = np.arange(count) * 10
    columns: dict[str, Any] = {
        "frame": np.arange(count),
        "partition": 0,
        "tenant": 0,
        "release": "stable",
        "events": 1,
        "outcome": list(outcomes) if outcomes else ["lost" if value is None else "ok" for value in latencies_ms],
        "attempts": 1,
        "poll": np.arange(count),
    }
    for number, edge in enumerate(hop_edges(scenario)[:-1]):
        columns[hop_column(edge.hop)] = (intended_ms + number + 1) * NS_PER_MS
    columns["stored_ns"] = [
        None if value is None else round((start + value) * NS_PER_MS)
        for start, value in zip(intended_ms.tolist(), latencies_ms, strict=True)
    ]
    hops = tuple(edge.hop for edge in hop_edges(scenario))
    frames = pl.DataFrame(columns).cast(frame_schema(hops))  # type: ignore[arg-type]
    events = pl.DataFrame({"frame": np.arange(count), "intended_offset_ns": np.full(count, -NS_PER_MS)})
    length = count / 100.0 if seconds is None else seconds
    names = processes(scenario)
    cpu = CpuSeries(names, np.full((len(names), int(np.ceil(warmup_s + length)) + 1), cpu_cores))
    manifest = Manifest(
        source="measured",
        scenario=scenario_data(scenario),
        scenario_hash=scenario_hash(scenario),
        seed=1,
        rate_eps=rate_eps,
        warmup_s=warmup_s,
        seconds=length,
        started_at="2026-03-01T10:00:00+00:00",
        versions={"python": "3.11"},
        machine={"cores": 1},
        offered_events=round(length * 100),
    )
    return Run(path=path, manifest=manifest, tables=Tables(frames, events, metrics_table(frames, scenario, cpu)))

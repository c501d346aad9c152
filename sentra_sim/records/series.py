"""Per-second metrics that follow from the frames alone; one implementation for both sources."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sentra_sim.records.tables import METRIC_COLUMNS, hop_column
from sentra_sim.scenario import ConsumerGroup, HopEdge, Log, Scenario, hop_edges, only
from sentra_sim.units import NS_PER_S


@dataclass(frozen=True)
class CpuSeries:
    """CPU seconds spent by each process in each whole second since the epoch, shape (processes, seconds)."""

    processes: tuple[str, ...]
    seconds: NDArray[np.float64]


def metrics_table(frames: pl.DataFrame, scenario: Scenario, cpu: CpuSeries) -> pl.DataFrame:
    """Returns the metrics table: events and frames per second at every hop, consumer lag, CPU by process.

    Names follow Prometheus conventions: `sentra_hop_events` and `sentra_hop_frames` (label `hop`),
    `sentra_polls`, `kafka_consumergroup_lag_events`, `process_cpu_seconds` (label `process`); values are per second.
    """
    horizon = cpu.seconds.shape[1]
    edges = np.arange(horizon + 1) * NS_PER_S
    parts: list[pl.DataFrame] = []
    for edge in hop_edges(scenario):
        events, count = _per_second(frames, edge, edges)
        parts.append(_series("sentra_hop_events", f'hop="{edge.hop}"', events))
        parts.append(_series("sentra_hop_frames", f'hop="{edge.hop}"', count))
    parts.append(_series("sentra_polls", "", _polls(frames, scenario, edges)))
    parts.append(_series("kafka_consumergroup_lag_events", "", _lag(frames, scenario, edges)))
    for number, process in enumerate(cpu.processes):
        parts.append(_series("process_cpu_seconds", f'process="{process}"', cpu.seconds[number]))
    return pl.concat(parts).cast(METRIC_COLUMNS)  # type: ignore[arg-type]


def _per_second(
    frames: pl.DataFrame, edge: HopEdge, edges: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    seen = frames.select(hop_column(edge.hop), "events").drop_nulls()
    times = seen[hop_column(edge.hop)].to_numpy()
    events = np.histogram(times, bins=edges, weights=seen["events"].to_numpy().astype(np.float64))[0]
    return events, np.histogram(times, bins=edges)[0].astype(np.float64)


def _polls(frames: pl.DataFrame, scenario: Scenario, edges: NDArray[np.int64]) -> NDArray[np.float64]:
    started = hop_column(only(scenario, ConsumerGroup)[1].hop)
    first = frames.drop_nulls(["poll", started]).group_by("poll").agg(pl.col(started).min())
    return np.histogram(first[started].to_numpy(), bins=edges)[0].astype(np.float64)


def _lag(frames: pl.DataFrame, scenario: Scenario, edges: NDArray[np.int64]) -> NDArray[np.float64]:
    """Events appended and acknowledged but not yet taken by a worker, at the end of each second; without those dropped on the way."""
    acked, started = only(scenario, Log)[1].hop, only(scenario, ConsumerGroup)[1].hop
    taken = frames.filter(pl.col("outcome") != "shed")
    return _cumulative(taken, acked, edges[1:]) - _cumulative(taken, started, edges[1:])


def _cumulative(frames: pl.DataFrame, hop: str, at: NDArray[np.int64]) -> NDArray[np.float64]:
    seen = frames.select(hop_column(hop), "events").drop_nulls().sort(hop_column(hop))
    total = np.concatenate([[0.0], np.cumsum(seen["events"].to_numpy().astype(np.float64))])
    return np.asarray(total[np.searchsorted(seen[hop_column(hop)].to_numpy(), at, side="right")])


def _series(name: str, labels: str, values: NDArray[np.float64]) -> pl.DataFrame:
    return pl.DataFrame(
        {"time_s": np.arange(1, len(values) + 1, dtype=np.float64), "name": name, "labels": labels, "value": values}
    )


__all__ = ["CpuSeries", "metrics_table"]

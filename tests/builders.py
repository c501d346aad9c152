"""Small made-up runs that keep the record contract, for tests that need a run but neither a pipeline nor an engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from sentra_sim.records import (
    CpuSeries,
    Manifest,
    Run,
    Tables,
    Validity,
    frame_schema,
    hop_column,
    metrics_table,
    write_run,
)
from sentra_sim.scenario import Scenario, hop_edges, load_scenario, processes, scenario_data, scenario_hash
from sentra_sim.units import NS_PER_S

SCENARIO = Path(__file__).parents[1] / "data" / "scenarios" / "sentra.yaml"


def make_run(
    path: Path,
    *,
    source: Literal["measured", "simulated"] = "measured",
    rate_eps: float = 2_000.0,
    warmup_s: float = 1.0,
    seconds: float = 20.0,
    slowness: float = 1.0,
    seed: int = 1,
    lost_frames: int = 0,
    valid: bool = True,
    started_at: str = "2026-03-01T10:00:00+00:00",
) -> Run:
    """Builds a run of Sentra's scenario with lognormal hop times whose mean grows with `slowness`."""
    scenario = scenario_at(rate_eps)
    rng = np.random.default_rng(seed)
    frames, offsets = draw_frames(scenario, rate_eps, warmup_s + seconds + 0.5, slowness, rng)
    if lost_frames:
        frames = lose(frames, scenario, lost_frames)
    horizon = int(np.ceil(warmup_s + seconds)) + 1
    names = processes(scenario)
    cpu = CpuSeries(names, rng.uniform(0.02, 0.10, (len(names), horizon)))
    manifest = Manifest(
        source=source,
        scenario=scenario_data(scenario),
        scenario_hash=scenario_hash(scenario),
        seed=seed,
        rate_eps=rate_eps,
        warmup_s=warmup_s,
        seconds=seconds,
        started_at=started_at,
        versions={"python": "3.11"},
        machine={"processor": "Builder 9000", "cores": 2, "memory_gib": 8.0, "kernel": "6.1"},
        engine="compiled" if source == "simulated" else None,
        offered_events=int(rate_eps * seconds),
        validity=Validity(valid=valid, reasons=() if valid else ("send_delay_p99_s: must be <= 0.005, got 0.031",)),
    )
    tables = Tables(frames, offsets, metrics_table(frames, scenario, cpu))
    return Run(path=path, manifest=manifest, tables=tables)


def save_run(path: Path, **options: Any) -> Run:
    """Builds a run and writes its folder."""
    run = make_run(path, **options)
    write_run(path, run.tables, run.manifest)
    return run


def rename(run: Run, path: Path) -> Run:
    """Returns the same run under another path."""
    return replace(run, path=path)


def scenario_at(rate_eps: float) -> Scenario:
    """Returns Sentra's scenario at a load."""
    scenario = load_scenario(SCENARIO)
    return scenario.model_copy(update={"load": scenario.load.model_copy(update={"rate_eps": rate_eps})})


def draw_frames(
    scenario: Scenario, rate_eps: float, seconds: float, slowness: float, rng: np.random.Generator
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Draws frames of 15 ms of events each, and their events' offsets."""
    intended = np.arange(int(rate_eps * seconds)) / rate_eps
    frame = (intended / 0.015).astype(np.int64)
    counts = np.bincount(frame)
    closing = np.searchsorted(frame, np.arange(len(counts)), side="right") - 1
    times = {"intended": intended[closing]}
    for edge in hop_edges(scenario):
        times[edge.hop] = times[edge.after] + slowness * rng.lognormal(np.log(0.002), 0.6, len(counts))
    hops = {hop: (values * NS_PER_S).astype(np.int64) for hop, values in times.items() if hop != "intended"}
    first = next(iter(hops.values()))
    columns: dict[str, Any] = {
        "frame": np.arange(len(counts)),
        "partition": np.arange(len(counts)) % 6,
        "tenant": None,
        "release": "stable",
        "events": counts,
        "outcome": "ok",
        "attempts": 1,
        "poll": np.arange(len(counts)),
    } | {hop_column(hop): values for hop, values in hops.items()}
    frames = pl.DataFrame(columns).cast(frame_schema(tuple(hops)))  # type: ignore[arg-type]
    offsets = np.rint(intended * NS_PER_S).astype(np.int64) - first[frame]
    return frames, pl.DataFrame({"frame": frame, "intended_offset_ns": offsets})


def lose(frames: pl.DataFrame, scenario: Scenario, count: int) -> pl.DataFrame:
    """Lets `count` frames in the middle of a run never be delivered."""
    final = hop_column(scenario.kpis["e2e"].end)
    start = frames.height // 2
    gone = pl.col("frame").is_between(start, start + count - 1)
    return frames.with_columns(
        pl.when(gone).then(None).otherwise(pl.col(final)).alias(final),
        pl.when(gone).then(pl.lit("lost")).otherwise(pl.col("outcome")).alias("outcome"),
    )

"""Small made-up runs that keep the record contract, for tests that need a run but neither a pipeline nor an engine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from sentra_sim.kpi import Kpi, kpis
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
from sentra_sim.twin import LoadPoint, Row, Twin, Validation, save_twin, save_validation, twin_hash
from sentra_sim.twin.model import TrainingRun
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
    twin: str | None = None,
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
        twin=twin,
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


def save_verdict(folder: Path, held_out: Sequence[Run], training: Sequence[Run], *, error: float = 0.04) -> Validation:
    """Writes a twin and its validation beside runs: every latency is predicted `error` too high."""
    twin = Twin(
        created_at="2026-03-01T12:00:00+00:00",
        scenario=training[0].manifest.scenario,
        members=(),
        discipline="ps",
        losses={"ps": 0.1},
        processes={},
        repeatability={},
        training=tuple(_training(run) for run in training),
        versions={"python": "3.11"},
        machine={"processor": "Builder 9000", "cores": 2},
    )
    save_twin(twin, folder / "twin.yaml")
    rows = [row for kpi in kpis(held_out[0]) if (row := _row(held_out[0], kpi, error))]
    good = abs(error) <= 0.1
    validation = Validation(
        twin="twin.yaml",
        twin_sha256=twin_hash(folder / "twin.yaml"),
        trusted=good,
        reason=f"e2e_p95_s at {held_out[0].manifest.rate_eps:g} events/s is off by {error:+.1%}, target ±10%",
        points=(
            LoadPoint(
                rate_eps=held_out[0].manifest.rate_eps,
                held_out=True,
                runs=tuple(run.name for run in held_out),
                busy_fraction=0.5,
            ),
        ),
        rows=tuple(rows),
    )
    save_validation(validation, folder / "validation.json")
    return validation


def _training(run: Run) -> TrainingRun:
    manifest = run.manifest
    return TrainingRun(
        name=run.name,
        sha256="0" * 64,
        rate_eps=manifest.rate_eps,
        scenario_hash=manifest.scenario_hash,
        started_at=manifest.started_at,
        seconds=manifest.seconds,
        valid=True,
        kpis={},
    )


def _row(run: Run, kpi: Kpi, error: float) -> Row | None:
    judged = kpi.name.startswith("e2e") or kpi.name == "throughput_eps"
    if kpi.value is None or not (judged or kpi.name == "cpu_cores"):
        return None
    simulated = kpi.value * (1 + error)
    return Row(
        rate_eps=run.manifest.rate_eps,
        kind="kpi",
        name=kpi.name,
        unit=kpi.unit,
        measured=kpi.value,
        simulated=simulated,
        low=simulated * 0.95,
        high=simulated * 1.06,
        error=error,
        baseline_error=-0.21,
        floor=0.02,
        covered=abs(error) < 0.05,
        target=0.1 if judged else None,
        grade=("good" if abs(error) <= 0.1 else "poor") if judged else None,
    )

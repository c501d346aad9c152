"""A simulated run in the record contract."""

import pkgutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import sentra_sim.engine
from sentra_sim.engine import prepare, run, simulate
from sentra_sim.engine.compiled.calendar import KIND_BITS, KINDS
from sentra_sim.errors import InputError
from sentra_sim.kpi import kpis
from sentra_sim.records import EVENT_COLUMNS, METRIC_COLUMNS, frame_schema, hop_column, read_run, write_run
from sentra_sim.scenario import hop_edges, scenario_hash
from tests.pipelines import bare, sentra


def test_a_simulated_run_is_written_read_back_and_judged(tmp_path: Path) -> None:
    tables, manifest = simulate(sentra(), seconds=2.0, warmup_s=1.0, seed=1, twin="abc")
    read = read_run(write_run(tmp_path / "run", tables, manifest))
    assert read.manifest.source == "simulated"
    assert read.manifest.engine == "compiled"
    assert read.manifest.twin == "abc"
    assert read.manifest.scenario_hash == scenario_hash(sentra())
    assert read.manifest.offered_events == 100_000
    assert read.manifest.counters == {
        "offered": 150_000,
        "received": 150_000,
        "acked": 150_000,
        "delivered": 150_000,
        "shed": 0,
        "dlq": 0,
        "lost": 0,
        "acked_lost": 0,
    }
    found = {kpi.name: kpi.value for kpi in kpis(read)}
    assert found["delivered_ratio"] == 1.0
    assert 0.015 < found["e2e_p50_s"] < 0.060


def test_the_tables_follow_the_contract() -> None:
    tables, _ = simulate(sentra(), seconds=1.0, warmup_s=0.0, seed=1)
    hops = tuple(edge.hop for edge in hop_edges(sentra()))
    assert dict(tables.frames.schema) == frame_schema(hops)
    assert dict(tables.events.schema) == EVENT_COLUMNS
    assert dict(tables.metrics.schema) == METRIC_COLUMNS
    assert tables.frames["frame"].to_list() == list(range(tables.frames.height))
    assert tables.frames.select("release", "outcome", "attempts").unique().rows() == [("stable", "ok", 1)]
    assert tables.frames["tenant"].null_count() == tables.frames.height
    assert tables.events["frame"].is_sorted()
    counts = tables.events.group_by("frame").len().sort("frame")["len"].cast(pl.Int32)
    assert counts.to_list() == tables.frames["events"].to_list()


def test_events_keep_their_intended_send_times() -> None:
    """Offset plus the frame's first hop is when the event was due, to the nanosecond."""
    tables, _ = simulate(sentra({"load.arrivals": "poisson"}), seconds=1.0, warmup_s=0.0, seed=1)
    intended = prepare(sentra({"load.arrivals": "poisson"}), seconds=1.0, seed=1).offered.intended_s
    joined = tables.events.join(tables.frames, on="frame")
    back = np.sort((joined["intended_offset_ns"] + joined[hop_column("received")]).to_numpy())
    np.testing.assert_array_equal(back, np.rint(intended * 1e9).astype(np.int64))
    first = tables.events.group_by("frame").agg(pl.col("intended_offset_ns").min())
    assert (first["intended_offset_ns"] < 0).all()  # the event that opened the frame was due before it was received


def test_cpu_per_process_comes_with_every_second() -> None:
    tables, _ = simulate(sentra(), seconds=2.0, warmup_s=0.0, seed=1)
    cpu = tables.metrics.filter(pl.col("name") == "process_cpu_seconds")
    trace = run(prepare(sentra(), seconds=2.0, seed=1))
    assert cpu["value"].sum() == pytest.approx(trace.cpu_s.sum())
    assert set(cpu["labels"]) >= {'process="gateway"', 'process="kafka-2"', 'process="subscriber"'}


def test_a_single_tenant_owns_every_frame() -> None:
    tables, _ = simulate(bare({"load.tenants": 1}), seconds=1.0, warmup_s=0.0, seed=1)
    assert tables.frames["tenant"].to_list() == [0] * 10


def test_what_a_saturated_pipeline_leaves_behind_is_lost(tmp_path: Path) -> None:
    scenario = bare({"stations.group.process": {"job_s": 1.0}, "stations.group.max_poll_events": 1})
    tables, manifest = simulate(scenario, seconds=2.0, warmup_s=0.0, seed=1)
    assert tables.frames["outcome"].value_counts(sort=True).rows() == [("ok", 12), ("lost", 8)]
    lost = tables.frames.filter(pl.col("outcome") == "lost")
    assert lost["poll"].null_count() == lost[hop_column("started")].null_count() == 8
    assert manifest.counters["lost"] == 8
    assert read_run(write_run(tmp_path / "run", tables, manifest)).tables.frames.equals(tables.frames)


def test_events_that_no_frame_took_are_counted_as_lost() -> None:
    scenario = bare({"stations.batcher.receive": {"job_s": 1.0}})
    tables, manifest = simulate(scenario, seconds=2.0, warmup_s=0.0, seed=1)
    assert tables.events.height == tables.frames["events"].sum() == 11
    assert manifest.offered_events == 20
    assert manifest.counters["received"] == 11
    assert manifest.counters["lost"] == 20 - manifest.counters["delivered"] >= 9


def test_both_engines_write_the_same_run() -> None:
    one, _ = simulate(sentra(), seconds=0.5, warmup_s=0.5, seed=2)
    other, manifest = simulate(sentra(), seconds=0.5, warmup_s=0.5, seed=2, engine="reference")
    assert one.frames.equals(other.frames)
    assert one.events.equals(other.events)
    assert one.metrics.equals(other.metrics)
    assert manifest.engine == "reference"


def test_a_wrong_length_or_engine_is_refused() -> None:
    for seconds, warmup_s, message in (
        (0.0, 1.0, "seconds must be > 0, got 0.0"),
        (float("nan"), 1.0, "seconds must be > 0, got nan"),
        (1.0, -1.0, "warmup_s must be >= 0, got -1.0"),
    ):
        with pytest.raises(InputError, match=message):
            simulate(bare(), seconds=seconds, warmup_s=warmup_s, seed=1)
    with pytest.raises(InputError, match="engine: must be one of compiled, reference, got 'fast'"):
        simulate(bare(), seconds=1.0, warmup_s=0.0, seed=1, engine="fast")  # type: ignore[arg-type]


def test_the_facade_is_small() -> None:
    assert sentra_sim.engine.__all__ == [
        "Change",
        "Histogram",
        "Operation",
        "Plan",
        "Replicated",
        "Rows",
        "Simulation",
        "Statistics",
        "Trace",
        "View",
        "prepare",
        "run",
        "run_statistics",
        "simulate",
        "simulate_until",
        "start",
    ]
    modules = {module.name for module in pkgutil.iter_modules(sentra_sim.engine.__path__)}
    assert {"reference", "compiled", "plan"} <= modules


def test_every_kind_of_calendar_entry_fits_into_the_bits_that_it_shares_with_its_subject() -> None:
    assert len(KINDS) <= 1 << KIND_BITS

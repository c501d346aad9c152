"""KPIs of runs whose every number is known by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sentra_sim.kpi import Kpi, breaches, cpu_cores, final_hop, hop_breakdown, kpis, timeline, window_metric
from sentra_sim.records import Run, Tables
from sentra_sim.scenario import kpi_names
from tests.unit.handmade import PIPELINE, small_run, small_scenario

HERE = Path("small")
HUNDRED = [float(value) for value in range(5, 105)]  # latencies of 5 to 104 ms


def of(run: Run) -> dict[str, Kpi]:
    return {kpi.name: kpi for kpi in kpis(run)}


def test_a_run_has_the_kpis_that_its_scenario_promises_in_that_order() -> None:
    assert tuple(of(small_run(HERE, HUNDRED))) == kpi_names(small_scenario())


def test_latency_quantiles_are_those_of_all_events_from_intended_send_to_the_last_hop() -> None:
    found = of(small_run(HERE, HUNDRED))
    for name, q in (("e2e_p50_s", 0.50), ("e2e_p95_s", 0.95), ("e2e_p99_s", 0.99)):
        assert found[name].value == pytest.approx(np.quantile(HUNDRED, q) / 1e3)
        assert found[name].unit == "s"


def test_a_quantile_of_enough_events_has_an_interval_around_it() -> None:
    kpi = of(small_run(HERE, HUNDRED))["e2e_p50_s"]
    assert kpi.value is not None
    assert kpi.low is not None
    assert kpi.high is not None
    assert kpi.low < kpi.value < kpi.high


def test_few_events_have_a_value_but_no_interval() -> None:
    kpi = of(small_run(HERE, [5.0, 6.0, 7.0]))["e2e_p50_s"]
    assert (kpi.value, kpi.low, kpi.high) == (pytest.approx(0.006), None, None)


def test_an_event_that_never_arrived_belongs_into_the_tail() -> None:
    # 3 of 100 are lost: the 97 others fill the quantiles up to P97, P99 is unknown and no small number.
    run = small_run(HERE, [None] * 3 + HUNDRED[:97])
    found = of(run)
    assert found["e2e_p95_s"].value == pytest.approx(sorted(HUNDRED[:97])[math.ceil(0.95 * 99)] / 1e3)
    assert found["e2e_p99_s"].value is None
    assert found["delivered_ratio"].value == pytest.approx(0.97)
    assert found["error_rate"].value == pytest.approx(0.03)


def test_only_events_intended_in_the_window_count() -> None:
    # 100 events a second: one second of warm-up at 50 ms, one of window at 5 ms, and a rest at 90 ms.
    run = small_run(HERE, [50.0] * 100 + [5.0] * 100 + [90.0] * 30, warmup_s=1.0, seconds=1.0)
    found = of(run)
    assert found["e2e_p50_s"].value == pytest.approx(0.005)
    assert found["e2e_p99_s"].value == pytest.approx(0.005)
    assert len(timeline(run).frame) == 100
    assert timeline(run).intended_s[[0, -1]] == pytest.approx([1.0, 1.99])


def test_throughput_counts_deliveries_by_the_second_they_happen_in() -> None:
    # Everything is stored 5 ms late, so the first second misses its last event, and later ones gain one and lose one.
    found = of(small_run(HERE, [5.0] * 300))
    assert found["throughput_eps"].value == pytest.approx((100 + 100 + 100) / 3)
    late = of(small_run(HERE, [15.0] * 300))
    assert late["throughput_eps"].value == pytest.approx((99 + 100 + 100) / 3)


def test_lag_is_what_lies_acknowledged_and_not_yet_taken_at_the_end_of_a_second() -> None:
    run = small_run(HERE, [5.0] * 200)
    started = pl.when(pl.col("frame").is_between(90, 99)).then(pl.lit(1_500_000_000)).otherwise(pl.col("started_ns"))
    slow = _with_frames(run, run.tables.frames.with_columns(started.cast(pl.Int64).alias("started_ns")))
    assert of(slow)["lag_max_events"].value == 10
    assert of(run)["lag_max_events"].value == 0
    assert of(slow)["lag_max_s"].value == pytest.approx(1.0 - 0.903)  # frame 90 is acknowledged at 903 ms
    assert of(run)["lag_max_s"].value == 0
    never = pl.when(pl.col("frame") == 30).then(None).otherwise(pl.col("started_ns")).alias("started_ns")
    stuck = _with_frames(run, run.tables.frames.with_columns(never))
    assert of(stuck)["lag_max_s"].value == pytest.approx(2.0 - 0.303)  # those behind it were taken


def test_bad_events_spend_the_error_budget_of_thirty_days() -> None:
    # One event in a hundred is lost: twice what the objective allows, so a day takes two days' part of the budget.
    run = small_run(HERE, [None, *HUNDRED[:99]], slo={"error_rate": {"max": 0.005}})
    assert of(run)["error_budget_per_day"].value == pytest.approx(2 / 30)
    assert of(small_run(HERE, HUNDRED))["error_budget_per_day"].value is None


def test_hosts_cost_by_their_cores_and_an_event_its_share() -> None:
    run = small_run(HERE, [5.0] * 300)
    assert of(run)["cost_per_hour"].value is None  # no price is not a price of nothing
    scenario = PIPELINE | {"hosts": {"box": {"cores": 4, "price_per_core_hour": 0.05}}}
    found = of(replace(run, manifest=run.manifest.model_copy(update={"scenario": scenario})))
    assert found["cost_per_hour"].value == pytest.approx(0.2)
    assert found["cost_per_million_events"].value == pytest.approx(0.2 / (100 * 3600) * 1e6)


def test_cpu_is_the_mean_of_the_window_and_is_shared_out_among_the_events() -> None:
    run = small_run(HERE, [5.0] * 200, cpu_cores=0.02)
    cores = cpu_cores(run)
    assert set(cores) == {"producer", "batcher", "log-1", "log-2", "log-3", "worker", "store"}
    assert cores["worker"] == pytest.approx(0.02)
    assert of(run)["cpu_cores"].value == pytest.approx(7 * 0.02)
    assert of(run)["cpu_us_per_event"].value == pytest.approx(7 * 0.02 / 100 * 1e6)


def test_what_was_not_recorded_is_no_data_and_never_zero() -> None:
    run = small_run(HERE, [5.0] * 100)
    bare = _without_metrics(run)
    found = of(bare)
    for name in ("throughput_eps", "lag_p95_events", "lag_max_events", "cpu_cores", "cpu_us_per_event"):
        assert found[name].value is None
    assert cpu_cores(bare) == {}


@pytest.mark.parametrize(
    ("bound", "text", "verdict"),
    [
        ({"max": 0.104}, "<= 0.104", "ok"),
        ({"max": 0.060}, "<= 0.06", "breach"),
        ({"min": 0.200}, ">= 0.2", "breach"),
        ({"min": 0.001, "max": 0.104}, "<= 0.104 and >= 0.001", "ok"),
    ],
)
def test_a_kpi_is_judged_by_its_bound(bound: dict[str, float], text: str, verdict: str) -> None:
    kpi = of(small_run(HERE, HUNDRED, slo={"e2e_p95_s": bound}))["e2e_p95_s"]
    assert (kpi.bound, kpi.verdict) == (text, verdict)


def test_a_kpi_without_a_bound_is_not_judged() -> None:
    assert of(small_run(HERE, HUNDRED))["e2e_p95_s"].verdict == "-"


def test_a_bound_on_what_was_not_measured_is_missed_not_held() -> None:
    run = small_run(HERE, [None] * 10 + HUNDRED[:90], slo={"e2e_p95_s": {"max": 0.5}, "delivered_ratio": {"min": 0.5}})
    found = of(run)
    assert found["e2e_p95_s"].verdict == "nodata"
    assert [kpi.name for kpi in breaches(tuple(found.values()))] == ["e2e_p95_s"]


def test_a_run_that_offers_less_than_the_promised_rate_cannot_show_it() -> None:
    promised = {"throughput_eps": {"min": 1_000.0}}
    quiet = of(small_run(HERE, [5.0] * 300, slo=promised, rate_eps=100.0))
    assert quiet["throughput_eps"].verdict == "not offered"
    assert breaches(tuple(quiet.values())) == ()
    loud = of(small_run(HERE, [5.0] * 300, slo=promised, rate_eps=1_000.0))
    assert loud["throughput_eps"].verdict == "breach"


def test_a_throughput_short_by_what_is_in_flight_at_the_window_s_edges_is_ok() -> None:
    run = small_run(HERE, [15.0] * 300, slo={"throughput_eps": {"min": 100.0}})
    kpi = of(run)["throughput_eps"]
    assert kpi.value is not None
    assert kpi.value < 100.0
    assert kpi.verdict == "ok"


def test_the_breakdown_gives_every_hop_its_share() -> None:
    table = hop_breakdown(small_run(HERE, HUNDRED))
    assert table["hop"].to_list() == ["made", "closed", "acked", "started", "stored"]
    assert table["after"].to_list() == ["intended", "made", "closed", "acked", "started"]
    assert table["p50_s"].to_list()[:4] == pytest.approx([0.001] * 4)
    assert table["mean_s"].to_list()[4] == pytest.approx(np.mean(HUNDRED) / 1e3 - 0.004)
    assert table["mean_s"].sum() == pytest.approx(np.mean(HUNDRED) / 1e3)


def test_a_hop_that_nobody_reached_has_no_numbers_in_the_breakdown() -> None:
    last = hop_breakdown(small_run(HERE, [None] * 20)).row(4, named=True)
    assert (last["hop"], last["mean_s"], last["p99_s"]) == ("stored", None, None)


def test_delivered_means_the_end_of_e2e_or_the_last_hop() -> None:
    assert final_hop(small_scenario()) == "stored"
    assert final_hop(small_scenario().model_copy(update={"kpis": {}})) == "stored"


def test_a_metric_of_the_window_leaves_out_warm_up_and_rest() -> None:
    run = small_run(HERE, [5.0] * 300, warmup_s=1.0, seconds=1.0)
    assert set(window_metric(run, "process_cpu_seconds")["time_s"]) == {2.0}


def _with_frames(run: Run, frames: pl.DataFrame) -> Run:
    from sentra_sim.records import CpuSeries, metrics_table

    cpu = CpuSeries((), np.zeros((0, 3)))
    tables = Tables(frames, run.tables.events, metrics_table(frames, run.manifest.load_scenario(), cpu))
    return Run(run.path, run.manifest, tables)


def _without_metrics(run: Run) -> Run:
    return Run(run.path, run.manifest, Tables(run.tables.frames, run.tables.events, run.tables.metrics.clear()))

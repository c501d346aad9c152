"""A short run observed from outside: every process answers, spans and tables of it are kept."""

import time

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from sentra_sim.kpi import read_spans, slowest
from tests.contract.grafana import metric_names, queries
from tests.live.short_run import ShortRun

pytestmark = pytest.mark.live

PROCESSES = {"gateway", "worker-1", "pricing", "fanout", "subscriber", "observer", "clickhouse"}


def sample(text: str, name: str) -> float:
    return sum(s.value for family in text_string_to_metric_families(text) for s in family.samples if s.name == name)


def test_every_process_of_a_run_is_scraped_and_no_target_is_left_after_it(short_run: ShortRun) -> None:
    prometheus = short_run.prometheus
    assert set(prometheus.texts) == PROCESSES
    assert not prometheus.file.exists()
    counts = {
        "gateway": "sentra_gateway_frames_total",
        "worker-1": "sentra_worker_events_total",
        "pricing": "sentra_release_events_total",
        "fanout": "sentra_fanout_events_total",
        "subscriber": "sentra_subscriber_events_total",
        "observer": "sentra_end_to_end_seconds_count",
        "clickhouse": "sentra_clickhouse_rows_total",
    }
    assert [process for process, name in counts.items() if not sample(prometheus.texts[process], name)] == []


def test_every_panel_of_the_dashboard_asks_for_what_the_running_processes_expose(
    short_run: ShortRun,
) -> None:
    families = [each for text in short_run.prometheus.texts.values() for each in text_string_to_metric_families(text)]
    there = {sample.name for family in families for sample in family.samples}
    assert {title: left for title, query in queries().items() if (left := metric_names(query) - there)} == {}


def test_an_exemplar_of_the_latency_leads_to_a_trace_that_the_run_folder_holds(
    short_run: ShortRun,
) -> None:
    run, prometheus = short_run.run, short_run.prometheus
    families = text_string_to_metric_families(prometheus.texts["observer"])
    (latency,) = [family for family in families if family.name == "sentra_end_to_end_seconds"]
    shown = [s.exemplar.labels["trace_id"] for s in latency.samples if s.exemplar]
    assert shown
    kept = {span.trace_id for span in read_spans(run)}
    assert set(shown) <= kept
    assert slowest(run, 1)[0].trace_id in kept


def test_a_trace_follows_its_frame_through_every_process(short_run: ShortRun) -> None:
    run = short_run.run
    trace = [span for span in read_spans(run) if span.trace_id == slowest(run, 1)[0].trace_id]
    assert {span.process for span in trace} == {"gateway", "worker", "clickhouse", "fanout", "subscriber"}
    ids = {span.span_id for span in trace}
    assert [span.name for span in trace if span.parent_id is None] == ["send events"]
    assert all(span.parent_id in ids for span in trace if span.parent_id)
    assert all(span.end_ns >= span.start_ns for span in trace)
    now_ns = time.time_ns()
    assert all(now_ns - 600 * 10**9 < span.start_ns < now_ns for span in trace)


def test_the_run_holds_jobs_pauses_and_details_on_the_clock_of_its_hops(short_run: ShortRun) -> None:
    tables = short_run.run.tables
    assert tables.jobs is not None
    kinds = {"poll", "price", "send", "receive", "insert", "commit", "write-redis", "ask-price", "trim"}
    assert kinds <= set(tables.jobs["kind"])
    assert (tables.jobs["end_ns"] >= tables.jobs["start_ns"]).all()
    assert tables.pauses is not None
    assert {"gc", "safepoint"} <= set(tables.pauses["kind"])
    assert tables.details is not None
    hops = tables.frames.join(tables.details, on="frame")
    assert hops.height == tables.frames.height
    assert hops["produce_sent_ns"].null_count() == hops["fetched_ns"].null_count() == 0
    assert (hops["produce_sent_ns"] >= hops["closed_ns"]).all()
    assert (hops["produce_sent_ns"] <= hops["acked_ns"]).all()
    assert (hops["fetched_ns"] <= hops["started_ns"]).all()
    switches = tables.metrics.filter(name="process_context_switches")
    assert switches.filter(switches["labels"].str.contains("worker"))["value"].sum() > 0

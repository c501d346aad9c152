"""/metrics of a process: what is counted comes out under its name, in both formats, exactly at the SLOs' edges."""

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from tornado.httpclient import AsyncHTTPClient

from live_adapters.pipeline.telemetry.exposition import counter, counters, gauge, registry_of, serve_metrics
from live_adapters.pipeline.telemetry.histogram import EDGES_S, Histogram, histogram
from live_adapters.pipeline.telemetry.targets import Targets

TRACE = "0af7651916cd43dd8448eb211c80319c"


def exposed(found: Histogram) -> dict[str, float]:
    text = generate_latest(registry_of([lambda: [histogram("sentra_end_to_end_seconds", "Latency.", found)]])).decode()
    (family,) = text_string_to_metric_families(text)
    return {s.labels.get("le", s.name.rpartition("_")[2]): s.value for s in family.samples}


def test_an_event_that_just_keeps_the_slo_counts_as_within_it() -> None:
    found = Histogram()
    found.add([0.12, np.nextafter(0.12, 1.0), 0.3, 11.0])
    buckets = exposed(found)
    assert (buckets["0.12"], buckets["0.2"], buckets["0.3"], buckets["10.0"], buckets["+Inf"]) == (1, 2, 3, 3, 4)
    assert (buckets["count"], buckets["sum"]) == (4, pytest.approx(11.54))


def test_a_frame_counts_as_often_as_it_has_events() -> None:
    found = Histogram()
    found.add([0.05, 0.4], weights=[500, 2])
    found.add([], weights=[])
    buckets = exposed(found)
    assert (buckets["0.03"], buckets["0.05"], buckets["+Inf"]) == (0, 500, 502)


def test_edges_lie_at_the_slos_and_rise() -> None:
    assert {0.12, 0.3} <= set(EDGES_S)
    assert list(EDGES_S) == sorted(set(EDGES_S))


def test_two_metrics_of_one_name_are_refused() -> None:
    twice = [lambda: [gauge("sentra_x", "One.", 1)], lambda: [gauge("sentra_x", "Another.", 2)]]
    with pytest.raises(ValueError, match="sentra_x"):
        registry_of(twice)


def test_a_process_is_found_through_its_port_file_and_answers_in_the_format_asked_for(tmp_path: Path) -> None:
    found = Histogram()
    found.add([0.1])
    found.show(0.1, TRACE)

    async def ask() -> tuple[str, str]:
        server = serve_metrics(
            tmp_path / "worker.metrics",
            [
                lambda: [
                    histogram("sentra_end_to_end_seconds", "Latency.", found),
                    counter("sentra_polls", "Polls.", 7),
                ],
                lambda: [counters("sentra_store_retries", "Retries.", "store", {"redis": 2})],
            ],
        )
        url = f"http://127.0.0.1:{int((tmp_path / 'worker.metrics').read_text())}/metrics"
        client = AsyncHTTPClient(force_instance=True)
        plain = await client.fetch(url)
        opened = await client.fetch(url, headers={"Accept": "application/openmetrics-text; version=1.0.0"})
        client.close()
        server.stop()
        await server.close_all_connections()
        return plain.body.decode(), opened.body.decode()

    plain, opened = asyncio.run(ask())
    assert "sentra_polls_total 7.0\n" in plain
    assert 'sentra_store_retries_total{store="redis"} 2.0\n' in plain
    (latency,) = [f for f in text_string_to_metric_families(opened) if f.name == "sentra_end_to_end_seconds"]
    (example,) = [s.exemplar for s in latency.samples if s.exemplar]
    assert (example.labels, example.value) == ({"trace_id": TRACE}, 0.1)


def test_prometheus_finds_the_processes_of_a_run_while_it_goes_on(tmp_path: Path) -> None:
    file, scratch = tmp_path / "prometheus-targets.json", tmp_path / "scratch"
    scratch.mkdir()
    targets = Targets(file, "events-k3v9", (scratch, tmp_path / "nowhere"))
    (scratch / "worker-1.metrics").write_text("15001\n")
    targets.refresh()
    labels = {"process": "worker-1", "run": "events-k3v9"}
    assert json.loads(file.read_text()) == [{"targets": ["127.0.0.1:15001"], "labels": labels}]
    (scratch / "worker-1.metrics").write_text("15002\n")  # started again
    targets.refresh()
    assert json.loads(file.read_text())[0]["targets"] == ["127.0.0.1:15002"]
    targets.remove()
    assert not file.exists()

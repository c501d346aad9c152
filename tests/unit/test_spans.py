"""From hop logs to traces: every frame's spans hang together, and a backend is given what the file holds."""

import gzip
import json
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

from live_adapters.pipeline import hoplog
from live_adapters.pipeline.telemetry.export import FileExporter, SpanSink, exporters
from live_adapters.pipeline.telemetry.framebook import FrameBook
from live_adapters.pipeline.telemetry.frametrace import frame_spans
from live_adapters.pipeline.telemetry.observer import DEFAULT_RATIO, sampling_ratio
from sentra_sim.errors import InputError
from sentra_sim.records.traceids import span_id, trace_id

RUN = "events-k3v9"
FRAME = 2 << 40 | 17
MS = 1_000_000
MARKS = {
    name: (10 + number) * MS
    for number, name in enumerate(
        ("received", "closed", "acked", "started", "priced", "committed", "redis", "sent", "delivered", "clickhouse")
    )
}
INTENDED = [9 * MS, 10 * MS, 11 * MS, 11 * MS]


def write(scratch: Path, log: tuple[str, str, Any], rows: list[tuple[int, ...]]) -> None:
    hop_log = hoplog.HopLog(scratch, *log)
    hop_log.append(np.array(rows, dtype=log[2]))
    hop_log.close()


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[ExportTraceServiceRequest]]:
    """An OTLP receiver on loopback, named in the environment; yields what it was sent."""
    got: list[ExportTraceServiceRequest] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            assert self.path == "/v1/traces"
            got.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        yield got
        server.shutdown()
        thread.join()


def test_ids_are_those_of_w3c_and_differ_by_run_frame_and_hop() -> None:
    ids = {trace_id(run, frame) for run in ("a", "b") for frame in range(50)}
    assert len(ids) == 100
    assert all(len(each) == 32 and int(each, 16) and each == each.lower() for each in ids)
    spans = {span_id("a", frame, name) for frame in range(50) for name in ("send events", "price")}
    assert len(spans) == 100
    assert all(len(each) == 16 and int(each, 16) for each in spans)


def test_the_spans_of_a_frame_form_one_trace_under_its_send_and_link_events_that_it_carries() -> None:
    spans = frame_spans(RUN, FRAME, 4, MARKS, INTENDED)
    creations = [span for span in spans if span.name == "create events"]
    own = [span for span in spans if span.trace_id == trace_id(RUN, FRAME)]
    assert len(spans) == len(own) + len(creations)
    assert [(span.start_ns, span.attributes["sentra.event"]) for span in creations] == [
        (9 * MS, f"{FRAME}/1"),
        (11 * MS, f"{FRAME}/3"),
        (11 * MS, f"{FRAME}/4"),
    ]
    by_id = {span.span_id: span for span in own}
    parents = {span.name: by_id[span.parent_id].name for span in own if span.parent_id}
    assert parents == {
        "poll events": "send events",
        "process events": "send events",
        "price": "process events",
        "COMMIT postgres": "process events",
        "EVALSHA redis": "process events",
        "INSERT fills": "process events",
        "send subscribers": "process events",
        "receive subscribers": "send subscribers",
    }
    kinds = {span.name: span.kind for span in own}
    assert (kinds["send events"], kinds["process events"], kinds["price"]) == ("PRODUCER", "CONSUMER", "CLIENT")
    send = next(span for span in own if span.name == "send events")
    assert set(send.links) == {(span.trace_id, span.span_id) for span in creations}
    assert send.attributes["messaging.batch.message_count"] == 4


def test_a_hop_that_never_came_has_no_span() -> None:
    without = {name: at for name, at in MARKS.items() if name not in ("redis", "delivered")}
    names = {span.name for span in frame_spans(RUN, FRAME, 4, without, INTENDED)}
    assert not names & {"EVALSHA redis", "receive subscribers"}
    assert "process events" in names


def test_a_backend_gets_the_spans_that_the_file_keeps(tmp_path: Path, backend: list[ExportTraceServiceRequest]) -> None:
    file = tmp_path / "spans.jsonl.gz"
    sink = SpanSink(RUN, exporters(file), 10**18)
    sink.put(frame_spans(RUN, FRAME, 4, MARKS, INTENDED))
    sink.put(frame_spans(RUN, FRAME + 1, 4, MARKS, INTENDED))
    sink.close()
    assert sink.failed == 0
    sent = {
        (span.trace_id.hex(), span.span_id.hex(), span.name, span.start_time_unix_nano)
        for request in backend
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    }
    with gzip.open(file, "rt") as lines:
        kept = {
            (span["traceId"], span["spanId"], span["name"], int(span["startTimeUnixNano"]))
            for line in lines
            for resource in json.loads(line)["resourceSpans"]
            for scope in resource["scopeSpans"]
            for span in scope["spans"]
        }
    assert sent == kept
    assert (trace_id(RUN, FRAME), span_id(RUN, FRAME, "send events"), "send events", 10**18 + 10 * MS) in kept


def test_a_backend_that_is_away_is_left_alone_for_a_while_and_the_file_goes_on(tmp_path: Path) -> None:
    tried: list[int] = []

    class Away(FileExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            tried.append(len(spans))
            return SpanExportResult.FAILURE

    now_s = iter([0.0, 0.0, 0.0, 1.0, 1.0, 31.0, 31.0, 31.0])
    targets = [FileExporter(tmp_path / "spans.jsonl.gz"), Away(tmp_path / "none")]
    sink = SpanSink(RUN, targets, 0, clock=lambda: next(now_s))
    for _ in range(3):  # at 0, 1 and 31 s
        sink.put(frame_spans(RUN, FRAME, 4, MARKS, INTENDED))
    assert tried == [12, 12]
    assert (sink.exported, sink.failed) == (36, 36)


def test_without_a_backend_spans_go_to_the_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", raising=False)
    assert [type(target) for target in exporters(tmp_path / "spans.jsonl.gz")] == [FileExporter]


@pytest.mark.parametrize(("text", "ratio"), [(None, DEFAULT_RATIO), ("0", 0.0), ("1", 1.0), ("0.25", 0.25)])
def test_the_sampling_ratio_is_opentelemetry_s(text: str | None, ratio: float) -> None:
    assert sampling_ratio(text) == ratio


@pytest.mark.parametrize("text", ["", "2", "-0.1", "nan", "all"])
def test_a_ratio_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="OTEL_TRACES_SAMPLER_ARG: must be a number from 0 to 1"):
        sampling_ratio(text)


def test_a_frame_is_done_when_all_of_it_is_everywhere_in_whatever_order_the_logs_tell(tmp_path: Path) -> None:
    book = FrameBook(tmp_path)
    write(tmp_path, hoplog.SUBSCRIBER_DELIVERED, [(FRAME, 3, 40)])  # seen before the gateway's own row
    write(tmp_path, hoplog.GATEWAY_INTENDED, [(FRAME, 8), (FRAME, 9), (FRAME, 9), (FRAME, 10), (FRAME + 1, 11)])
    book.look()
    assert list(book.done(0)) == []
    write(tmp_path, hoplog.GATEWAY_FRAMES, [(FRAME, 2, 4, 10, 15, 20)])
    write(tmp_path, ("worker-2", "frames", hoplog.WORKER), [(FRAME, 7, 4, 0, 22, 24, 26, 28)])
    book.look()
    assert list(book.done(0)) == []
    write(tmp_path, hoplog.SUBSCRIBER_DELIVERED, [(FRAME, 1, 44)])
    write(tmp_path, hoplog.FANOUT_SENT, [(FRAME, 4, 30)])
    write(tmp_path, hoplog.CLICKHOUSE_VISIBLE, [(FRAME, 4, 300)])
    write(tmp_path, hoplog.GATEWAY_FRAMES, [(FRAME + 1, 2, 1, 12, 15, 21)])
    book.look()
    ((frame, known),) = book.done(0)
    assert (frame, known.intended.tolist(), known.marks["delivered"], known.whole) == (FRAME, [8, 9, 9, 10], 44, True)
    assert book.waiting == {2: 1}
    ((late, unfinished),) = book.done(22)
    assert (late, unfinished.intended.tolist(), unfinished.whole) == (FRAME + 1, [11], False)

"""Finished spans to where they are kept: a file of the run always, an OTLP backend over HTTP when one is named.

The file holds one line of OTLP/JSON a batch, compressed. `OTEL_EXPORTER_OTLP_ENDPOINT` and its kin name the backend.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags

from live_adapters.pipeline.telemetry.frametrace import Span

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
EXPORT_S = 2.0
AWAY_S = 30.0  # a backend that did not answer is left alone for so long: a run must not wait for who watches it
_SCOPE = InstrumentationScope("sentra-lab")
_IDS = ("traceId", "spanId", "parentSpanId")


class FileExporter(SpanExporter):
    """Appends to a file; what a killed process has written can be read."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Writes a batch as one line."""
        line = json.dumps(hexadecimal_ids(MessageToDict(encode_spans(spans), use_integers_for_enums=True)))
        with self._file.open("ab") as stream:
            stream.write(gzip.compress(line.encode() + b"\n", compresslevel=1))
        return SpanExportResult.SUCCESS


def exporters(file: Path) -> list[SpanExporter]:
    """Returns the file's exporter, and that of the backend that the environment names."""
    found: list[SpanExporter] = [FileExporter(file)]
    if any(os.environ.get(name) for name in ENDPOINTS):
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        found.append(OTLPSpanExporter(timeout=EXPORT_S))
    return found


class SpanSink:
    """Hands spans to exporters. A backend that is away costs its spans, nothing else."""

    def __init__(
        self,
        run: str,
        targets: Sequence[SpanExporter],
        wall_minus_monotonic_ns: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run, self._targets, self._offset_ns = run, targets, wall_minus_monotonic_ns
        self._clock = clock
        self._away_until_s = dict.fromkeys(range(len(targets)), 0.0)
        self._resources: dict[str, Resource] = {}
        self.exported = 0
        self.failed = 0

    def put(self, spans: Iterable[Span]) -> None:
        """Exports spans at once."""
        batch = [self._readable(span) for span in spans]
        if not batch:
            return
        for number, target in enumerate(self._targets):
            if self._clock() < self._away_until_s[number]:
                self.failed += len(batch)
            elif target.export(batch) is SpanExportResult.SUCCESS:
                self.exported += len(batch)
            else:
                self.failed += len(batch)
                self._away_until_s[number] = self._clock() + AWAY_S

    def close(self) -> None:
        """Closes the exporters."""
        for target in self._targets:
            target.shutdown()

    def _readable(self, span: Span) -> ReadableSpan:
        return ReadableSpan(
            name=span.name,
            context=_context(span.trace_id, span.span_id),
            parent=_context(span.trace_id, span.parent_id) if span.parent_id else None,
            resource=self._resource(span.process),
            attributes=dict(span.attributes),
            links=[Link(_context(*link)) for link in span.links],
            kind=SpanKind[span.kind],
            start_time=span.start_ns + self._offset_ns,
            end_time=span.end_ns + self._offset_ns,
            instrumentation_scope=_SCOPE,
        )

    def _resource(self, process: str) -> Resource:
        if process not in self._resources:
            named = {"service.namespace": "sentra", "service.name": process, "sentra.run": self._run}
            self._resources[process] = Resource(named)
        return self._resources[process]


def _context(trace: str, span: str) -> SpanContext:
    return SpanContext(int(trace, 16), int(span, 16), is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def hexadecimal_ids(data: Any) -> Any:
    """Writes ids as OTLP/JSON has them, where protobuf's JSON has base 64."""
    if isinstance(data, list):
        return [hexadecimal_ids(each) for each in data]
    if not isinstance(data, dict):
        return data
    return {
        name: base64.b64decode(value).hex() if name in _IDS else hexadecimal_ids(value) for name, value in data.items()
    }

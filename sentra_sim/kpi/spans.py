"""The recorded spans of a run: what its observer told of sampled frames, read back from the run folder."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sentra_sim.errors import RecordingError
from sentra_sim.records import Run
from sentra_sim.records.traceids import SPANS_FILE


@dataclass(frozen=True)
class RecordedSpan:
    """A span; times in ns since 1970. `links` are the trace ids of what led to it."""

    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    process: str
    start_ns: int
    end_ns: int
    links: tuple[str, ...]


def read_spans(run: Run) -> list[RecordedSpan]:
    """Returns the spans that a run folder holds, in order of their recording; none when it has no file of them.

    Raises:
        RecordingError: the file is damaged.
    """
    file = run.path / SPANS_FILE
    if not file.is_file():
        return []
    try:
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            return [span for line in lines for span in _spans(json.loads(line))]
    except (OSError, EOFError, ValueError, KeyError) as error:
        raise RecordingError(f"{file}: must be lines of OTLP/JSON, got {error!r}; record the run again") from None


def _spans(batch: dict[str, Any]) -> Iterator[RecordedSpan]:
    for resource in batch["resourceSpans"]:
        named = {each["key"]: each["value"].get("stringValue") for each in resource["resource"]["attributes"]}
        for span in (span for scope in resource["scopeSpans"] for span in scope["spans"]):
            yield RecordedSpan(
                trace_id=span["traceId"],
                span_id=span["spanId"],
                parent_id=span.get("parentSpanId") or None,
                name=span["name"],
                process=named["service.name"],
                start_ns=int(span["startTimeUnixNano"]),
                end_ns=int(span["endTimeUnixNano"]),
                links=tuple(link["traceId"] for link in span.get("links", ())),
            )

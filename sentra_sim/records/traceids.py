"""Trace and span ids, derived: whoever knows the run and the frame knows them, and no message has to carry them.

W3C Trace Context: a trace id is 16 bytes, a span id 8, neither all zero; both are written in lower-case hexadecimal.
"""

from __future__ import annotations

from hashlib import blake2b

SPANS_FILE = "spans.jsonl.gz"  # in a run folder: a line of OTLP/JSON a batch


def trace_id(run: str, frame: int) -> str:
    """Returns the trace id of a frame.

    >>> trace_id("k3v9", 1099511627777)
    '5ec7c671a4fae31fbaed11fa929b9aee'
    """
    return _digest(16, run, frame)


def span_id(run: str, frame: int, span: str) -> str:
    """Returns the id of the span of this name in a frame's trace."""
    return _digest(8, run, frame, span)


def _digest(size: int, *parts: str | int) -> str:
    return blake2b("\0".join(map(str, parts)).encode(), digest_size=size).hexdigest()

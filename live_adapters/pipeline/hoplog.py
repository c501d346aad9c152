"""Hop logs: what each process of the live pipeline knows of a frame, as fixed-width binary rows in the run's scratch folder.

A row goes to the file with one `write` as soon as it is known: a process killed the next moment has already told it.
Times are `time.monotonic_ns()`, one clock for all processes of a host.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

GATEWAY = np.dtype(
    [
        ("frame", "<i8"),
        ("partition", "<i2"),
        ("events", "<i4"),
        ("received", "<i8"),
        ("closed", "<i8"),
        ("acked", "<i8"),
    ]
)
INTENDED = np.dtype([("frame", "<i8"), ("intended_ns", "<i8")])
WORKER = np.dtype(
    [
        ("frame", "<i8"),
        ("poll", "<i8"),
        ("events", "<i4"),  # of this frame in this poll
        ("duplicates", "<i4"),  # of those, how many the high-water mark refused
        ("started", "<i8"),
        ("priced", "<i8"),
        ("committed", "<i8"),
        ("redis", "<i8"),
    ]
)
# One row per piece that a canary had a part in: how many events took effect, how many of them the canary priced.
RELEASED = np.dtype([("frame", "<i8"), ("events", "<i4"), ("canary", "<i4")])
# One row per release and request, of requests that a canary had a part in; `failed` counts requests, 0 or 1.
RELEASE_JOBS = np.dtype(
    [
        ("at", "<i8"),
        ("canary", "?"),
        ("events", "<i4"),
        ("failed", "?"),
        ("checked", "<i4"),
        ("wrong", "<i4"),
        ("cpu_ns", "<i8"),
        ("duration_ns", "<i8"),
    ]
)
# One row per unit of work of a process: who can tell demand a + b*n from it.
JOBS = np.dtype([("start", "<i8"), ("end", "<i8"), ("cpu_ns", "<i8"), ("frames", "<i4"), ("events", "<i4")])
# One row per frame and process that makes it visible; a frame may come in several rows, their `events` add up.
VISIBLE = np.dtype([("frame", "<i8"), ("events", "<i4"), ("at", "<i8")])
PRODUCED = np.dtype([("frame", "<i8"), ("sent", "<i8")])  # when the request with the frame was made, the last one
# One row per frame and poll: when the consumer returned it, and where the partition's log ended then, -1 when not known.
FETCHED = np.dtype([("frame", "<i8"), ("at", "<i8"), ("high_watermark", "<i8")])
PAUSES = np.dtype([("start", "<i8"), ("end", "<i8"), ("generation", "i1")])  # of Python's collector, one row each
MESSAGES = np.dtype([("due", "<i8"), ("sent", "<i8"), ("events", "<i4")])  # the load generator's, one row each

# The logs of a run, as (process, kind, dtype): file `<process>.<kind>.bin`.
GATEWAY_FRAMES = ("gateway", "frames", GATEWAY)
GATEWAY_INTENDED = ("gateway", "intended", INTENDED)
GATEWAY_PRODUCED = ("gateway", "produced", PRODUCED)
GENERATOR_MESSAGES = ("generator", "messages", MESSAGES)
WORKER_FRAMES = ("worker", "frames", WORKER)
WORKER_FETCHED = ("worker", "fetched", FETCHED)
WORKER_RELEASES = ("worker", "releases", RELEASED)
PRICING_RELEASES = ("pricing", "releases", RELEASE_JOBS)
CLICKHOUSE_VISIBLE = ("clickhouse", "visible", VISIBLE)
FANOUT_SENT = ("fanout", "sent", VISIBLE)
SUBSCRIBER_DELIVERED = ("subscriber", "delivered", VISIBLE)


class HopLog:
    """Appends rows of one dtype to `<folder>/<process>.<kind>.bin`."""

    def __init__(self, folder: Path, process: str, kind: str, dtype: np.dtype[np.void]) -> None:
        self.dtype = dtype
        self._fd = os.open(folder / f"{process}.{kind}.bin", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def append(self, rows: NDArray[np.void]) -> None:
        """Writes rows, shape (n,), of the log's dtype."""
        os.write(self._fd, rows.tobytes())

    def close(self) -> None:
        """Closes the file."""
        os.close(self._fd)


def read_log(folder: Path, process: str, kind: str, dtype: np.dtype[np.void]) -> NDArray[np.void]:
    """Reads a log back, shape (rows,); a torn last row is left out, a missing file is no rows."""
    file = folder / f"{process}.{kind}.bin"
    if not file.is_file():
        return np.empty(0, dtype=dtype)
    data = file.read_bytes()
    whole = len(data) // dtype.itemsize * dtype.itemsize
    return np.frombuffer(data[:whole], dtype=dtype)

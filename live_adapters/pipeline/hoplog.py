"""Hop logs: what each process of the live pipeline knows of a frame, as fixed-width binary rows in the run's scratch folder.

A row goes to the file with one `write` as soon as it is known: a process killed the next moment has already told it.
Times are `time.monotonic_ns()`, one clock for all processes of a host.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
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
# One row per message once its fate is known: its sequences, and the state 1 acknowledged, 2 refused, 3 unknown.
ACKS = np.dtype([("message", "<i8"), ("first", "<u8"), ("last", "<u8"), ("acked_at", "<i8"), ("state", "u1")])

BLOCK_ROWS = 1 << 20

# The logs of a run, as (process, kind, dtype): file `<process>.<kind>.bin`.
GATEWAY_FRAMES = ("gateway", "frames", GATEWAY)
GATEWAY_INTENDED = ("gateway", "intended", INTENDED)
GATEWAY_PRODUCED = ("gateway", "produced", PRODUCED)
GENERATOR_MESSAGES = ("generator", "messages", MESSAGES)
GENERATOR_ACKS = ("generator", "acks", ACKS)
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
    """Reads a log back, shape (rows,), those of all its replicas one after another; a torn last row is left out.

    No file is no rows.
    """
    rows = [np.fromfile(file, dtype=dtype) for file in log_files(folder, process, kind)]
    return np.concatenate(rows) if rows else np.empty(0, dtype=dtype)


def read_blocks(
    folder: Path, process: str, kind: str, dtype: np.dtype[np.void], rows: int = BLOCK_ROWS
) -> Iterator[NDArray[np.void]]:
    """Reads a log as `read_log` does, but never more than `rows` rows at once."""
    for file in log_files(folder, process, kind):
        with file.open("rb") as stream:
            while len(block := np.fromfile(stream, dtype=dtype, count=rows)):
                yield block


def log_files(folder: Path, process: str, kind: str) -> list[Path]:
    """Returns the files of a log that are there: the process' own, and those of its replicas (`worker-1.frames.bin`)."""
    own = folder / f"{process}.{kind}.bin"
    replicas = sorted(folder.glob(f"{process}-[0-9]*.{kind}.bin"), key=lambda file: replica_number(file.name))
    return [own, *replicas] if own.is_file() else replicas


def replica_number(name: str) -> int:
    """Returns the number of a process among its replicas; 0 for one that has none.

    >>> replica_number("worker-2"), replica_number("worker-2.frames.bin"), replica_number("worker")
    (2, 2, 0)
    """
    number = name.partition(".")[0].rpartition("-")[2]
    return int(number) if number.isdecimal() else 0


class LogTail:
    """A log while it grows, with those of the process' replicas: each look returns the rows that are new.

    A torn last row is returned once it is whole.
    """

    def __init__(self, folder: Path, process: str, kind: str, dtype: np.dtype[np.void]) -> None:
        self._log = (folder, process, kind)
        self._dtype = dtype
        self._offsets: dict[Path, int] = {}

    def look(self) -> NDArray[np.void]:
        """Returns the rows written since the last look, shape (rows,); none while there is no file."""
        blocks = [self._new(file) for file in log_files(*self._log)]
        return np.concatenate(blocks) if blocks else np.empty(0, dtype=self._dtype)

    def _new(self, file: Path) -> NDArray[np.void]:
        with file.open("rb") as stream:
            rows = np.fromfile(stream, dtype=self._dtype, offset=self._offsets.get(file, 0))
        self._offsets[file] = self._offsets.get(file, 0) + rows.nbytes
        return rows

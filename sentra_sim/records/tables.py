"""The record contract: the tables that every run, simulated or measured, consists of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

OUTCOMES = ("ok", "duplicate", "dlq", "shed", "lost")

# Cores a process kept busy before the load, one row per process at time zero; measured runs only.
IDLE_CORES = "process_cpu_idle_cores"
# What a process and its children held at the end of each second; measured runs only.
RESIDENT_MEMORY = "process_resident_memory_bytes"
PRIVATE_MEMORY = "process_private_memory_bytes"  # of it, what is neither a file's nor shared with other processes
OPEN_FDS = "process_open_fds"

# Hop columns (`<hop>_ns`) follow these; their names come from the scenario. Times are ns since the run's epoch.
FRAME_COLUMNS: dict[str, Any] = {
    "frame": pl.Int64,  # identifies the frame within the run
    "partition": pl.Int16,  # of the log, from 0
    "tenant": pl.Int32,  # null: the frame carries events of several tenants
    "release": pl.String,  # which version of the pipeline handled it: stable or canary
    "events": pl.Int32,  # number of events that it carries
    "outcome": pl.String,  # one of OUTCOMES, for all its events
    "attempts": pl.Int16,  # deliveries to a worker, 1 without a retry
    "poll": pl.Int64,  # the consumer poll that took the frame; null: never taken
}
# One row per event: those of the first frame first, in order of the frames' rows.
EVENT_COLUMNS: dict[str, Any] = {
    "frame": pl.Int64,  # the frame that carried it
    # Intended send time minus the frame's first hop. The first event of a frame is due before it is received, the others
    # may follow while the frame is open.
    "intended_offset_ns": pl.Int64,
}
METRIC_COLUMNS: dict[str, Any] = {
    "time_s": pl.Float64,  # end of the second that the value is of, since the run's epoch
    "name": pl.String,  # Prometheus name, base unit in it
    "labels": pl.String,  # 'process="gateway"', empty without labels
    "value": pl.Float64,  # of that second, in the unit that the name says
}
# The tables from here on may be absent: a simulated run has none of them. Times are ns since the run's epoch.
JOB_COLUMNS: dict[str, Any] = {
    "process": pl.String,  # the process that worked, as CPU metrics call it
    "kind": pl.String,  # what it did: docs/observability.md lists the kinds
    "start_ns": pl.Int64,  # when it began
    "end_ns": pl.Int64,  # when it was done; waits are within
    "cpu_ns": pl.Int64,  # CPU time of the thread that did it; null: not measured, or spent in another process
    "frames": pl.Int32,  # how many frames it was for, in whole or in part; null: it is for none
    "events": pl.Int32,  # how many events it was for; null: it is for none
}
PAUSE_COLUMNS: dict[str, Any] = {
    "process": pl.String,  # the process that stood still
    "kind": pl.String,  # gc (Python's collector), jvm-gc, or safepoint (a JVM's stop, one of a collection included)
    "start_ns": pl.Int64,  # from when no thread of it ran
    "end_ns": pl.Int64,  # until when
}
DETAIL_COLUMNS: dict[str, Any] = {
    "frame": pl.Int64,  # identifies the frame within the run
    "produce_sent_ns": pl.Int64,  # when the gateway handed the frame to its producer's socket, the last attempt
    "fetched_ns": pl.Int64,  # when the worker's consumer returned the frame, its last piece
    "high_watermark": pl.Int64,  # end of the frame's partition then, as of the broker's last answer
}
OPTIONAL_TABLES: dict[str, dict[str, Any]] = {
    "jobs": JOB_COLUMNS,
    "pauses": PAUSE_COLUMNS,
    "details": DETAIL_COLUMNS,
}


@dataclass(frozen=True)
class Tables:
    """The tables of a run; see the column dictionaries of this module for their columns and units. None: not recorded."""

    frames: pl.DataFrame
    events: pl.DataFrame
    metrics: pl.DataFrame
    jobs: pl.DataFrame | None = None
    pauses: pl.DataFrame | None = None
    details: pl.DataFrame | None = None


def hop_column(hop: str) -> str:
    """Returns the frames column that holds a hop's time."""
    return f"{hop}_ns"


def frame_schema(hops: tuple[str, ...]) -> dict[str, Any]:
    """Returns columns and types of the frames table of a pipeline with these hops."""
    return FRAME_COLUMNS | {hop_column(hop): pl.Int64 for hop in hops}

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


@dataclass(frozen=True)
class Tables:
    """The three tables of a run; see the column dictionaries of this module for their columns and units."""

    frames: pl.DataFrame
    events: pl.DataFrame
    metrics: pl.DataFrame


def hop_column(hop: str) -> str:
    """Returns the frames column that holds a hop's time."""
    return f"{hop}_ns"


def frame_schema(hops: tuple[str, ...]) -> dict[str, Any]:
    """Returns columns and types of the frames table of a pipeline with these hops."""
    return FRAME_COLUMNS | {hop_column(hop): pl.Int64 for hop in hops}

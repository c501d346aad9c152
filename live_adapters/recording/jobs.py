"""The table `jobs`: each unit of work of each process, with start and end, from the logs that the processes keep."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from live_adapters.pipeline.hoplog import JOBS, WORKER, read_log
from sentra_sim.records import JOB_COLUMNS

# Kind of log → what its rows are called, by process; a log that belongs to no frames has no counts of them.
WORK = {"worker": "poll", "pricing": "price", "fanout": "send", "subscriber": "receive", "clickhouse": "insert"}
ASIDE = {"trims": "trim", "merges": "merge"}
# Parts of a poll, told by the hops that its frames share: what the worker waits for, its own work between included.
STEPS = (("ask-price", "started", "priced"), ("commit", "priced", "committed"), ("write-redis", "committed", "redis"))


def jobs_table(scratch: Path, epoch_ns: int) -> pl.DataFrame:
    """Returns the jobs of every process that logged any, in order of their start."""
    tables = [pl.DataFrame(schema=JOB_COLUMNS)]
    for process in _processes(scratch, "jobs"):
        kind = next((name for station, name in WORK.items() if process.startswith(station)), "job")
        tables.append(_table(process, kind, read_log(scratch, process, "jobs", JOBS), epoch_ns))
    for log, kind in ASIDE.items():
        for process in _processes(scratch, log):
            rows = _table(process, kind, read_log(scratch, process, log, JOBS), epoch_ns)
            tables.append(_without(rows, "frames", "events", *(["cpu_ns"] if kind == "trim" else [])))
    for process in _processes(scratch, "frames"):
        if process.startswith("worker"):
            polls = _polls(read_log(scratch, process, "frames", WORKER))
            tables += [_step(process, kind, polls, (start, end), epoch_ns) for kind, start, end in STEPS]
    return pl.concat(tables).sort("start_ns", maintain_order=True)


def _processes(scratch: Path, kind: str) -> list[str]:
    return sorted(file.name.removesuffix(f".{kind}.bin") for file in scratch.glob(f"*.{kind}.bin"))


def _table(process: str, kind: str, rows: NDArray[np.void], epoch_ns: int) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "process": pl.Series([process] * len(rows), dtype=pl.String),
            "kind": pl.Series([kind] * len(rows), dtype=pl.String),
            "start_ns": rows["start"] - epoch_ns,
            "end_ns": rows["end"] - epoch_ns,
            "cpu_ns": rows["cpu_ns"].copy(),
            "frames": rows["frames"].copy(),
            "events": rows["events"].copy(),
        },
        schema=JOB_COLUMNS,
    )


def _without(table: pl.DataFrame, *columns: str) -> pl.DataFrame:
    return table.with_columns(pl.lit(None, dtype=JOB_COLUMNS[column]).alias(column) for column in columns)


def _polls(rows: NDArray[np.void]) -> NDArray[np.void]:
    """Returns one row per poll, its `events` the poll's sum and its `frame` their number."""
    _, first, inverse, counts = np.unique(rows["poll"], return_index=True, return_inverse=True, return_counts=True)
    polls = rows[first].copy()
    polls["frame"] = counts
    polls["events"] = np.bincount(inverse, weights=rows["events"], minlength=len(first))
    return np.asarray(polls)


def _step(process: str, kind: str, polls: NDArray[np.void], hops: tuple[str, str], epoch_ns: int) -> pl.DataFrame:
    start, end = hops
    done = polls[polls[end] > 0]  # 0: Redis was away
    rows = np.zeros(len(done), dtype=JOBS)
    rows["start"], rows["end"], rows["frames"], rows["events"] = done[start], done[end], done["frame"], done["events"]
    return _without(_table(process, kind, rows, epoch_ns), "cpu_ns")

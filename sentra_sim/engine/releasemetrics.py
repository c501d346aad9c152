"""What each release did in each second, under the names that a recorded run has."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sentra_sim.engine.trace import STABLE
from sentra_sim.records.tables import METRIC_COLUMNS


def release_metrics(jobs: NDArray[np.void], seconds: int) -> list[pl.DataFrame]:
    """Returns the metrics of releases, of the jobs that a canary had a part in; nothing without any.

    `sentra_release_job_seconds` is the longest job of the second, absent where there was none; the others are sums.

    Args:
        jobs: a trace's `release_jobs`.
        seconds: how many whole seconds the run lasted; jobs that ended later are left out.
    """
    jobs = jobs[jobs["at_s"] < seconds]
    tables: list[pl.DataFrame] = []
    for release in ("stable", "canary") if len(jobs) else ():
        mine = jobs[(jobs["release"] == STABLE) == (release == "stable")]
        second, labels = mine["at_s"].astype(np.int64), f'release="{release}"'
        sums = {
            "events": np.where(mine["failed"] == 1, 0, mine["events"]),
            "errors": mine["failed"],
            "shadow_checked": mine["checked"],
            "shadow_wrong": mine["wrong"],
            "cpu_seconds": mine["cpu_s"],
        }
        for name, values in sums.items():
            total = np.bincount(second, weights=values.astype(np.float64), minlength=seconds)
            tables.append(_metric(f"sentra_release_{name}", labels, np.asarray(total, dtype=np.float64)))
        longest = np.full(seconds, -np.inf)
        np.maximum.at(longest, second, mine["duration_s"])
        slowest = _metric("sentra_release_job_seconds", f'{labels},quantile="1"', longest)
        tables.append(slowest.filter(pl.col("value").is_finite()))
    return tables


def _metric(name: str, labels: str, values: NDArray[np.float64]) -> pl.DataFrame:
    time_s = np.arange(1, len(values) + 1, dtype=np.float64)
    return pl.DataFrame({"time_s": time_s, "name": name, "labels": labels, "value": values}, schema=METRIC_COLUMNS)

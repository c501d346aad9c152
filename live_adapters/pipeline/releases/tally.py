"""What a release did: events, failures, what the shadow check found, CPU, and how long its jobs took."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LAST_JOBS = 16_384  # of which the quantiles are exact


class Job(NamedTuple):
    """A release's share of one request. `error` is empty when it priced its events; `duration_ns` includes waits."""

    release: str
    events: int
    duration_ns: int
    cpu_ns: int
    error: str = ""
    checked: int = 0
    wrong: int = 0


class Tally:
    """Counts the jobs of one release.

    `errors` counts requests, `failed_events` the events in them, which stable prices in the release's place.
    """

    def __init__(self) -> None:
        self.jobs = self.events = self.errors = self.failed_events = self.checked = self.wrong = self.cpu_ns = 0
        # Rings: memory does not grow with the run.
        self._durations_ns, self._cpus_ns = np.zeros(LAST_JOBS, dtype=np.int64), np.zeros(LAST_JOBS, dtype=np.int64)

    def add(self, job: Job) -> None:
        """Counts one job."""
        place = self.jobs % LAST_JOBS
        self._durations_ns[place], self._cpus_ns[place] = job.duration_ns, job.cpu_ns
        self.jobs += 1
        self.cpu_ns += job.cpu_ns
        if job.error:
            self.errors += 1
            self.failed_events += job.events
            return
        self.events += job.events
        self.checked += job.checked
        self.wrong += job.wrong

    def counters(self) -> dict[str, int]:
        """Returns what was counted; times in whole microseconds, quantiles (of the last LAST_JOBS jobs) only where there are jobs.

        `job_..._us` includes waits, for a core too; `job_cpu_..._us` tells a slow job from a busy machine.
        """
        counted = {
            "jobs": self.jobs,
            "events": self.events,
            "errors": self.errors,
            "failed_events": self.failed_events,
            "shadow_checked": self.checked,
            "shadow_wrong": self.wrong,
            "cpu_us": self.cpu_ns // 1000,
        }
        if self.jobs:
            counted |= self._quantiles_us("job", self._durations_ns) | self._quantiles_us("job_cpu", self._cpus_ns)
        return counted

    def _quantiles_us(self, name: str, ring_ns: NDArray[np.int64]) -> dict[str, int]:
        p50_ns, p99_ns = np.quantile(ring_ns[: min(self.jobs, LAST_JOBS)], [0.50, 0.99])
        return {f"{name}_p50_us": round(p50_ns / 1000), f"{name}_p99_us": round(p99_ns / 1000)}

"""What a release did: events, failures, what the shadow check found, CPU, and how long its jobs took."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sentra_sim.units import NS_PER_S

LAST_JOBS = 16_384  # of which the quantiles are exact


@dataclass(frozen=True)
class Job:
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
        self._durations_ns = np.zeros(LAST_JOBS, dtype=np.int64)  # a ring: memory does not grow with the run

    def add(self, job: Job) -> None:
        """Counts one job."""
        self._durations_ns[self.jobs % LAST_JOBS] = job.duration_ns
        self.jobs += 1
        self.cpu_ns += job.cpu_ns
        if job.error:
            self.errors += 1
            self.failed_events += job.events
            return
        self.events += job.events
        self.checked += job.checked
        self.wrong += job.wrong

    def job_s(self, probability: float) -> float | None:
        """Returns a quantile of the duration of the last LAST_JOBS jobs, seconds; None without any."""
        if self.jobs == 0:
            return None
        return float(np.quantile(self._durations_ns[: min(self.jobs, LAST_JOBS)], probability)) / NS_PER_S

    def counters(self) -> dict[str, int]:
        """Returns what was counted; times in whole microseconds, quantiles only where there are jobs."""
        counted = {
            "jobs": self.jobs,
            "events": self.events,
            "errors": self.errors,
            "failed_events": self.failed_events,
            "shadow_checked": self.checked,
            "shadow_wrong": self.wrong,
            "cpu_us": self.cpu_ns // 1000,
        }
        quantiles = {"job_p50_us": self.job_s(0.50), "job_p99_us": self.job_s(0.99)}
        return counted | {name: round(value * 1e6) for name, value in quantiles.items() if value is not None}

"""What an engine returns: times of hops by frame, frames of events, CPU by process. Arrays only, in seconds."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sentra_sim.kpi import final_hop
from sentra_sim.records import OUTCOMES
from sentra_sim.scenario import Broadcast, Log, Scenario, hop_edges

# What became of an offered event that no frame took.
NOT_TAKEN, EVENT_SHED = -1, -2

# Ends of lingers that lie no further apart are one to a timer: rounding alone must not make two of them.
SAME_MOMENT_S = 1e-9

# A release's part of a job of its pool: release 0 is stable, then those of the scenario in their order; at_s is the job's end.
STABLE = 0
RELEASE_JOB = np.dtype(
    [(name, np.int64) for name in ("release", "events", "failed", "checked", "wrong")]
    + [(name, np.float64) for name in ("at_s", "cpu_s", "duration_s")],
    align=True,
)

# How a frame ended. While a run goes on a frame is OPEN until a station ends it otherwise than by delivery; OK is set at the end.
OPEN, OK, DUPLICATE, DLQ, SHED, LOST = range(6)
OUTCOME_NAMES = ("open", *OUTCOMES)


@dataclass(frozen=True)
class Trace:
    """A simulated run.

    `partition`, `events`, `poll`: by frame in order of opening, shape (frames,); a frame that no poll took has poll -1.
    `outcome`: by frame, a place in OUTCOME_NAMES; OPEN is a frame that the end of the run found under way. `attempts`: by
    frame, deliveries to a worker, 1 without a retry.
    `hops_s`: shape (frames, hops), columns in the order of `hop_edges`, NaN where the frame did not come.
    `frame`: by offered event, shape (events,); NOT_TAKEN where no frame took it before the run ended, EVENT_SHED where the batcher
    refused it, the last time that it was sent.
    `repeats`: by frame, how many events it carried that an earlier one, or it itself, had taken already; not among its `events`.
    `poison`: by offered event, whether it fails whenever it is processed, shape (events,); empty where none may. `dead`: by frame, how
    many of its events were so and were put aside or dropped; of a frame that did not end so as a whole the others went on.
    `sends`: by message, how often it was sent, shape (messages,); empty without impatient clients.
    `cpu_s`: CPU seconds by process in the order of `processes` and whole second, shape (processes, seconds).
    `host_busy_s`: the same by host, shape (hosts, seconds).
    `canary_events`: by frame, how many of its events a canary worked on, shape (frames,).
    `release_jobs`: what each release did, of the jobs that a canary had a part in, in order of their ends; dtype RELEASE_JOB.
    `tallies`: what stores and edges counted, in the order of `tallies.tally_names`.
    """

    partition: NDArray[np.int16]
    events: NDArray[np.int32]
    poll: NDArray[np.int64]
    hops_s: NDArray[np.float64]
    frame: NDArray[np.int64]
    cpu_s: NDArray[np.float64]
    host_busy_s: NDArray[np.float64]
    canary_events: NDArray[np.int32]
    release_jobs: NDArray[np.void]
    outcome: NDArray[np.int8]
    attempts: NDArray[np.int16]
    tallies: NDArray[np.float64]
    repeats: NDArray[np.int32]
    sends: NDArray[np.int32]
    dead: NDArray[np.int32]
    poison: NDArray[np.bool_]


def clip_attempts(attempts: NDArray[np.int64]) -> NDArray[np.int16]:
    """Returns attempts as a trace holds them: 32,767 stands for that many or more."""
    return np.minimum(attempts, np.iinfo(np.int16).max).astype(np.int16)


def settle(scenario: Scenario, outcome: NDArray[np.int8], hops_s: NDArray[np.float64]) -> NDArray[np.int8]:
    """Makes what came to the last hop OK, unless a station ended it otherwise."""
    last = [edge.hop for edge in hop_edges(scenario)].index(final_hop(scenario))
    return np.where((outcome == OPEN) & np.isfinite(hops_s[:, last]), np.int8(OK), outcome)


@dataclass(frozen=True)
class Rows:
    """Some frames of a run under way, in the order in which they were asked for; columns as in `Trace`.

    A frame that the batcher has not closed yet shows 0 events. One that came through is OPEN still.
    """

    partition: NDArray[np.int16]
    events: NDArray[np.int32]
    hops_s: NDArray[np.float64]
    outcome: NDArray[np.int8]


@dataclass(frozen=True)
class View:
    """A run under way, as an observer reads it: only what is asked for is looked up, so a look costs what it shows.

    `frames`: opened until now. `rows`: frames by number. `frame_of`: the frames of offered events by number,
    -1 where none took it yet. `cpu_s`: as in `Trace`, shape (processes, seconds or more); what is on a core now may be missing.
    """

    now_s: float
    frames: int
    rows: Callable[[NDArray[np.int64]], Rows]
    frame_of: Callable[[NDArray[np.int64]], NDArray[np.int64]]
    cpu_s: NDArray[np.float64]


def used_seconds(cpu_s: NDArray[np.float64], seconds: float) -> int:
    """Returns how many whole seconds a run lasted: the load's, and those after it in which a core still worked."""
    busy = np.flatnonzero(cpu_s.any(axis=0))
    return max(math.ceil(seconds), int(busy[-1]) + 1 if len(busy) else 0)


def process_hosts(scenario: Scenario) -> list[str]:
    """Returns the host of each process, in the order of `processes`."""
    hosts: list[str] = []
    for station in scenario.stations.values():
        hosts.extend([station.host] * (station.brokers if isinstance(station, Log) else 1))
        if isinstance(station, Broadcast):
            hosts.append(station.subscriber_host)
    return hosts


def host_busy(scenario: Scenario, cpu_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums the CPU seconds of the processes on each host, shape (hosts, seconds)."""
    placed: dict[str, list[int]] = {host: [] for host in scenario.hosts}
    for process, host in enumerate(process_hosts(scenario)):
        placed[host].append(process)
    return np.array([cpu_s[processes].sum(axis=0) for processes in placed.values()])

"""What an engine returns: times of hops by frame, frames of events, CPU by process. Arrays only, in seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sentra_sim.scenario import Broadcast, Log, Scenario

# Ends of lingers that lie no further apart are one to a timer: rounding alone must not make two of them.
SAME_MOMENT_S = 1e-9


@dataclass(frozen=True)
class Trace:
    """A simulated run.

    `partition`, `events`, `poll`: by frame in order of opening, shape (frames,); a frame that no poll took has poll -1.
    `hops_s`: shape (frames, hops), columns in the order of `hop_edges`, NaN where the frame did not come.
    `frame`: by offered event, shape (events,), -1 where no frame took it before the run ended.
    `cpu_s`: CPU seconds by process in the order of `processes` and whole second, shape (processes, seconds).
    `host_busy_s`: the same by host, shape (hosts, seconds).
    """

    partition: NDArray[np.int16]
    events: NDArray[np.int32]
    poll: NDArray[np.int64]
    hops_s: NDArray[np.float64]
    frame: NDArray[np.int64]
    cpu_s: NDArray[np.float64]
    host_busy_s: NDArray[np.float64]


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

"""CPU demands from CPU accounting: how much of each process's CPU comes per job and how much per event.

A scenario's demands say how a process's CPU splits between its kinds of jobs; the fit scales their per-job and their per-event part so
that the measured cores come out at every training load. What a process burns without load becomes a background job.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from sentra_sim.scenario import Batcher, Broadcast, ConsumerGroup, Log, Pool, Scenario, Source, Store
from sentra_sim.scenario.schema import AnyStation, Background, Demand
from sentra_sim.twin.model import ProcessFit
from sentra_sim.twin.observe import Counts, Observation

IDLE_EVERY_S = 0.02
# Weight of the pull towards a common scale of jobs and events: decides only where the loads cannot tell the two apart.
RIDGE = 1e-3


@dataclass(frozen=True)
class Work:
    """One demand of a station and how often it is spent: jobs, frames and events per second, and by which process."""

    process: str
    field: str
    jobs: float
    frames: float
    events: float


def station_work(name: str, station: AnyStation, counts: Counts) -> list[Work]:
    """Returns every demand of a station with the rates at which its terms are spent."""
    frames, events = counts.frames, counts.events
    if isinstance(station, Source):
        return [Work(name, "send", counts.messages, counts.messages, events)]
    if isinstance(station, Batcher):
        return [
            Work(name, "receive", counts.messages, counts.messages, events),
            Work(name, "close", counts.closings, frames, events),
        ]
    if isinstance(station, Log):
        copies = station.replication_factor - 1
        return [
            Work(name, "append", counts.requests, frames, events),
            Work(name, "replicate", copies * counts.requests, copies * frames, copies * events),
        ]
    if isinstance(station, ConsumerGroup):
        return [Work(name, field, counts.polls, frames, events) for field in ("fetch", "process", "finish")]
    if isinstance(station, Broadcast):
        return [
            Work(name, "send", counts.polls, frames, events),
            Work("subscriber", "receive", counts.polls, frames, events),
        ]
    jobs = counts.flushes[name] if isinstance(station, Store) and station.flush_s else counts.polls
    assert isinstance(station, Pool | Store)
    return [Work(name, "demand", jobs, frames, events)]


def fit_demands(
    scenario: Scenario, observations: Sequence[Observation], counts: Sequence[Counts]
) -> tuple[Scenario, dict[str, ProcessFit]]:
    """Returns the scenario with demands scaled to the measured CPU, and how well each process's CPU is explained.

    `counts` are the jobs that the CPU of each observation is spread over: those measured, or, once a simulation exists, those
    simulated, so that the simulated CPU comes out right even where it needs a few more or fewer jobs for the same events.
    """
    stations: dict[str, AnyStation] = {}
    fits: dict[str, ProcessFit] = {}
    for name, station in scenario.stations.items():
        changes: dict[str, object] = {}
        for process in dict.fromkeys(work.process for work in station_work(name, station, counts[0])):
            fit = _fit_process(name, process, station, observations, counts)
            fits[process] = fit
            changes |= _scaled(name, process, station, fit, counts[0])
            if process == name:
                changes["background"] = _idle_job(fit, _copies(station))
        stations[name] = station.model_copy(update=changes)
    return scenario.model_copy(update={"stations": stations}), fits


def _fit_process(
    name: str, process: str, station: AnyStation, observations: Sequence[Observation], counts: Sequence[Counts]
) -> ProcessFit:
    measured = np.array([_measured(process, station, seen.cores) for seen in observations])
    idle = float(np.mean([_measured(process, station, seen.idle_cores) for seen in observations]))
    parts = np.array([_parts(name, process, station, found) for found in counts])
    busy = np.maximum(measured - idle, 0.0)
    weights = 1.0 / np.maximum(measured, 1e-6)
    common = busy.sum() / max(parts.sum(), 1e-12)
    rows = np.vstack([parts * weights[:, None], np.diag(parts.mean(axis=0)) * weights.mean() * RIDGE])
    target = np.concatenate([busy * weights, parts.mean(axis=0) * weights.mean() * RIDGE * common])
    scales = nnls(rows, target)[0]
    explained = idle + parts @ scales
    worst = float(np.max(np.abs(explained - measured) * weights)) if measured.any() else 0.0
    return ProcessFit(idle_cores=idle, job_scale=float(scales[0]), event_scale=float(scales[1]), worst_error=worst)


def _measured(process: str, station: AnyStation, cores: dict[str, float]) -> float:
    if isinstance(station, Log):
        return sum(cores.get(f"{process}-{number + 1}", 0.0) for number in range(station.brokers))
    return cores.get(process, 0.0)


def _parts(name: str, process: str, station: AnyStation, counts: Counts) -> tuple[float, float]:
    """Returns the cores that the scenario's own demands would take per job and per event."""
    jobs = events = 0.0
    for work in station_work(name, station, counts):
        if work.process == process:
            demand: Demand = getattr(station, work.field)
            jobs += demand.job_s * work.jobs + demand.frame_s * work.frames
            events += demand.event_s * work.events
    return jobs, events


def _scaled(name: str, process: str, station: AnyStation, fit: ProcessFit, counts: Counts) -> dict[str, object]:
    changes: dict[str, object] = {}
    for work in station_work(name, station, counts):
        if work.process == process:
            demand: Demand = getattr(station, work.field)
            changes[work.field] = demand.model_copy(
                update={
                    "job_s": demand.job_s * fit.job_scale,
                    "frame_s": demand.frame_s * fit.job_scale,
                    "event_s": demand.event_s * fit.event_scale,
                }
            )
    return changes


def _idle_job(fit: ProcessFit, copies: int) -> tuple[Background, ...]:
    if fit.idle_cores <= 0.0:
        return ()
    return (Background(every_s=IDLE_EVERY_S, demand=Demand(job_s=fit.idle_cores / copies * IDLE_EVERY_S)),)


def _copies(station: AnyStation) -> int:
    return station.brokers if isinstance(station, Log) else 1

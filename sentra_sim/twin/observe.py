"""What a fit reads from a run: rates, job counts, CPU by process, and the distribution of every hop."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sentra_sim.kpi import Timeline, cpu_cores, end_to_end, kpis, timeline
from sentra_sim.records import IDLE_CORES, Run
from sentra_sim.scenario import INTENDED, Batcher, Log, Scenario, Store, hop_edges, only

Floats = NDArray[np.float64]

# Probabilities at which distributions are compared: the body evenly, the tail to 1 in 1,000.
PROBABILITIES: Floats = np.concatenate([np.linspace(0.0, 0.95, 96), np.linspace(0.955, 0.995, 9), [0.999]])
# Responses of one produce request reach the batcher's log within this; see `_requests`.
SAME_REQUEST_S = 2e-4


@dataclass(frozen=True)
class Counts:
    """Jobs per second of the window by what triggers them, and events per second."""

    messages: float
    closings: float
    frames: float
    requests: float
    polls: float
    flushes: dict[str, float]
    events: float


@dataclass(frozen=True)
class Observation:
    """A measured run, reduced to what the fit compares."""

    run: Run
    scenario: Scenario
    counts: Counts
    cores: dict[str, float]
    idle_cores: dict[str, float]
    hops: dict[str, Floats]  # hop → seconds at PROBABILITIES, frames weighted equally
    end_to_end: Floats  # seconds at PROBABILITIES, events weighted equally
    kpis: dict[str, float]


def observe(run: Run) -> Observation:
    """Reduces a run; every figure is of its window."""
    scenario = run.manifest.load_scenario()
    line = timeline(run)
    poll = run.tables.frames["poll"].fill_null(-1).to_numpy()
    return Observation(
        run=run,
        scenario=scenario,
        counts=count_jobs(line, scenario, poll, run.tables.frames["partition"].to_numpy()),
        cores=cpu_cores(run),
        idle_cores=_idle(run),
        hops=hop_quantiles(line, scenario),
        end_to_end=end_to_end_quantiles(line, scenario),
        kpis={kpi.name: kpi.value for kpi in kpis(run) if kpi.value is not None},
    )


def run_hash(run: Run) -> str:
    """Returns the SHA-256 of a run's frames and events files."""
    digest = hashlib.sha256()
    for name in ("frames", "events"):
        digest.update((run.path / f"{name}.parquet").read_bytes())
    return digest.hexdigest()


def hop_quantiles(line: Timeline, scenario: Scenario) -> dict[str, Floats]:
    """Returns every hop's seconds at PROBABILITIES over the frames with an event in the window."""
    frames, first = _frames_of(line)
    found = {}
    for edge in hop_edges(scenario):
        # Events are in order of intended time, so a frame's first occurrence is its first event.
        start = line.intended_s[first] if edge.after == INTENDED else line.hops[edge.after][frames]
        found[edge.hop] = _quantiles(line.hops[edge.hop][frames] - start)
    return found


def end_to_end_quantiles(line: Timeline, scenario: Scenario) -> Floats:
    """Returns the seconds of the span `e2e`, else from intended to the last hop, at PROBABILITIES over events."""
    return _quantiles(line.span(*end_to_end(scenario)))


def count_jobs(line: Timeline, scenario: Scenario, poll: NDArray[np.int64], partition: NDArray[np.int16]) -> Counts:
    """Counts the jobs of every kind per second of the window."""
    seconds = line.window_s[1] - line.window_s[0]
    frames, _ = _frames_of(line)
    log = only(scenario, Log)[1]
    tick = scenario.load.tick_s
    # In order of intended time, so that a message's events are neighbours.
    messages = _changes(np.ceil(line.intended_s / tick)) if tick else len(line.intended_s)
    flushes = {
        name: _clusters(line.hops[station.hop][frames], 0.25 * station.flush_s)
        for name, station in scenario.stations.items()
        if isinstance(station, Store) and station.flush_s
    }
    acked = line.hops[log.hop][frames]
    broker = partition[frames] % log.brokers
    return Counts(
        messages=messages / seconds,
        closings=len(np.unique(line.hops[only(scenario, Batcher)[1].hops[1]][frames])) / seconds,
        frames=len(frames) / seconds,
        requests=sum(_clusters(acked[broker == number], SAME_REQUEST_S) for number in range(log.brokers)) / seconds,
        polls=len(np.unique(poll[frames])) / seconds,
        flushes={name: count / seconds for name, count in flushes.items()},
        events=len(line.frame) / seconds,
    )


def _frames_of(line: Timeline) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns the frames with an event in the window, ascending, and where each one's first event stands."""
    first = np.full(int(line.frame.max(initial=-1)) + 1, -1)
    first[line.frame[::-1]] = np.arange(len(line.frame))[::-1]  # of several writes to one place the last one stays
    frames = np.flatnonzero(first >= 0)
    return frames, first[frames]


def _quantiles(values: Floats) -> Floats:
    """Returns the values' quantiles at PROBABILITIES, NaN left out; sorting is several times faster than `np.quantile` here."""
    known = np.sort(values[~np.isnan(values)])
    if not len(known):
        return np.full(len(PROBABILITIES), np.nan)
    return np.interp(PROBABILITIES * (len(known) - 1), np.arange(len(known)), known)


def _changes(values: Floats) -> int:
    return 1 + int(np.count_nonzero(values[1:] != values[:-1])) if len(values) else 0


def _clusters(times: Floats, gap_s: float) -> int:
    """Counts groups of times that lie no further apart than `gap_s`."""
    known = np.sort(times[~np.isnan(times)])
    return 1 + int(np.sum(np.diff(known) > gap_s)) if len(known) else 0


def _idle(run: Run) -> dict[str, float]:
    rows = run.tables.metrics.filter(pl.col("name") == IDLE_CORES)
    return {labels.split('"')[1]: value for labels, value in rows.select("labels", "value").iter_rows()}

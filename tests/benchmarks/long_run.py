"""Memory and time that recording and judging a long run take: `python tests/benchmarks/long_run.py [SECONDS] [RATE_EPS]`.

Writes the hop logs of a made-up run, an hour at 20,000 events/s unless told otherwise, then records it, reads it back and computes
its KPIs, and says after each step how long it took and the most memory that the process has had.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from live_adapters.host.processes import HostUse
from live_adapters.pipeline import hoplog
from live_adapters.recording.recorder import record
from sentra_sim.kpi import growth, kpis
from sentra_sim.records import CpuSeries, Manifest, read_run, versions, write_run
from sentra_sim.scenario import Scenario, load_scenario, processes, scenario_data, scenario_hash, with_load
from sentra_sim.scenario.arrivals import draw_chunks
from sentra_sim.units import NS_PER_S

SCENARIO = Path(__file__).parents[2] / "data" / "scenarios" / "sentra.yaml"
FRAME_EVENTS = 33  # what a linger of 10 ms gathers in one of six partitions at 20,000 events/s
PARTITIONS = 6
POLL_FRAMES = 12
EPOCH_NS = 1_000 * NS_PER_S
WARMUP_S = 10.0


def write_logs(scratch: Path, scenario: Scenario, seconds: float) -> None:
    """Writes what the processes of a healthy run would have logged."""
    rng = np.random.default_rng(1)
    kinds = (hoplog.GATEWAY_FRAMES, hoplog.GATEWAY_INTENDED, hoplog.WORKER_FRAMES, hoplog.FANOUT_SENT)
    kinds += (hoplog.SUBSCRIBER_DELIVERED, hoplog.CLICKHOUSE_VISIBLE, hoplog.GENERATOR_MESSAGES)
    logs = {kind: hoplog.HopLog(scratch, *kind) for kind in kinds}
    first = 1
    for chunk in draw_chunks(scenario.load, seconds, 1, FRAME_EVENTS << 13):
        intended = EPOCH_NS + np.rint(chunk.intended_s * NS_PER_S).astype(np.int64)
        intended = intended[interleaved(len(intended))]
        starts = np.arange(0, len(intended), FRAME_EVENTS)
        frame = first + np.arange(len(starts))
        first += len(starts)
        events = np.diff(np.append(starts, len(intended)))
        at = intended[starts] + np.cumsum(rng.exponential(2e6, (8, len(starts))), axis=0).astype(np.int64)
        poll = frame // POLL_FRAMES
        visible = {"frame": frame, "events": events}
        append(logs, hoplog.GATEWAY_INTENDED, frame=np.repeat(frame, events), intended_ns=intended)
        times = {"received": at[0], "closed": at[1], "acked": at[2]}
        append(logs, hoplog.GATEWAY_FRAMES, **visible, partition=frame % PARTITIONS, **times)
        times = {"started": at[3], "priced": at[4], "committed": at[5], "redis": at[6]}
        append(logs, hoplog.WORKER_FRAMES, **visible, poll=poll, duplicates=0 * frame, **times)
        append(logs, hoplog.FANOUT_SENT, **visible, at=at[6])
        append(logs, hoplog.SUBSCRIBER_DELIVERED, **visible, at=at[7])
        append(logs, hoplog.CLICKHOUSE_VISIBLE, **visible, at=at[7] + 200_000_000)
        due = EPOCH_NS + np.rint(chunk.send_s * NS_PER_S).astype(np.int64)
        append(logs, hoplog.GENERATOR_MESSAGES, due=due, sent=due + 100_000, events=np.bincount(chunk.message))
    for log in logs.values():
        log.close()


def interleaved(count: int) -> NDArray[np.int64]:
    """Returns events in order of frames: six partitions fill their frames side by side."""
    blocks = count // (PARTITIONS * FRAME_EVENTS)
    whole = np.arange(blocks * PARTITIONS * FRAME_EVENTS).reshape(blocks, FRAME_EVENTS, PARTITIONS)
    return np.concatenate([whole.transpose(0, 2, 1).ravel(), np.arange(whole.size, count)])


def append(logs: dict[Any, hoplog.HopLog], kind: tuple[str, str, Any], **columns: NDArray[Any]) -> None:
    rows = np.empty(len(next(iter(columns.values()))), dtype=kind[2])
    for name, values in columns.items():
        rows[name] = values
    logs[kind].append(rows)


def host_use(scenario: Scenario, seconds: int) -> HostUse:
    names = processes(scenario)
    some = CpuSeries(names, np.full((len(names), seconds), 0.1))
    held = {name: np.full(seconds, 1e8) for name in names}
    idle = dict.fromkeys(names, 0.01)
    return HostUse(some, some, np.zeros(seconds), np.ones(seconds), np.ones(seconds), idle, {}, held, held)


@contextmanager
def told(what: str) -> Iterator[None]:
    start, cpu = time.monotonic(), time.process_time()
    yield
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    took = f"{time.monotonic() - start:6.1f} s, {time.process_time() - cpu:6.1f} s of CPU"
    print(f"{what:12} {took}, peak so far {peak_gb:.2f} GB", flush=True)


def main(seconds: float = 3600.0, rate_eps: float = 20_000.0) -> None:
    scenario = with_load(load_scenario(SCENARIO), rate_eps=rate_eps)
    with tempfile.TemporaryDirectory() as folder:
        scratch, out = Path(folder), Path(folder) / "run"
        with told("made up"):
            write_logs(scratch, scenario, seconds)
        with told("record"):
            recording = record(scratch, scenario, EPOCH_NS, host_use(scenario, int(seconds) + 5))
        events = recording.tables.events.height
        manifest = Manifest(
            source="measured",
            scenario=scenario_data(scenario),
            scenario_hash=scenario_hash(scenario),
            seed=1,
            rate_eps=rate_eps,
            warmup_s=WARMUP_S,
            seconds=seconds - WARMUP_S,
            started_at="2026-01-01T00:00:00+00:00",
            versions=versions(),
            machine={},
            offered_events=round((seconds - WARMUP_S) * rate_eps),
        )
        with told("write_run"):
            write_run(out, recording.tables, manifest)
        size_gb = sum(file.stat().st_size for file in out.iterdir()) / 1e9
        del recording
        with told("read_run"):
            run = read_run(out)
        with told("kpis"):
            found = kpis(run)
        with told("growth"):
            growth(run)
    values = ", ".join(f"{kpi.name} {kpi.value:.4g}" for kpi in found if kpi.value is not None)
    print(f"{events:,} events, {size_gb:.2f} GB on disk: {values}")


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))

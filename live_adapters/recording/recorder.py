"""Hop logs in a scratch folder → the tables of the record contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from live_adapters.host.processes import HostUse
from live_adapters.pipeline import hoplog
from live_adapters.recording import details_table, jobs_table, pauses_table
from sentra_sim.records import (
    IDLE_CORES,
    METRIC_COLUMNS,
    OPEN_FDS,
    PRIVATE_MEMORY,
    RESIDENT_MEMORY,
    Tables,
    frame_schema,
    hop_column,
    metrics_table,
)
from sentra_sim.scenario import (
    INTENDED,
    Batcher,
    Broadcast,
    ConsumerGroup,
    Log,
    Pool,
    Scenario,
    Store,
    hop_edges,
    only,
)
from sentra_sim.units import NS_PER_S

Columns = dict[str, NDArray[Any]]

_NEVER = np.iinfo(np.int64).max  # a time that is missing, until the table makes it null


@dataclass(frozen=True)
class HopNames:
    """What the scenario calls the hops that the live processes log."""

    received: str
    closed: str
    acked: str
    started: str
    priced: str
    committed: str
    redis: str
    clickhouse: str
    sent: str
    delivered: str


@dataclass(frozen=True)
class Recording:
    """The tables of a run, and what the recorder saw of the instrument's health.

    `negative_hops`: frames by hop whose time lies before the hop that precedes it; the clock or a log lies. `late_stamps`: times
    taken back because the receiver held the frame before the sender noted that it had gone.
    """

    tables: Tables
    negative_hops: dict[str, int]
    late_stamps: int
    counters: dict[str, int]


def hop_names(scenario: Scenario) -> HopNames:
    """Returns the scenario's names of the live pipeline's hops; its stores are told apart by their stations' names."""
    batcher, log, group = only(scenario, Batcher)[1], only(scenario, Log)[1], only(scenario, ConsumerGroup)[1]
    stations = scenario.stations
    stores = {name: station.hop for name, station in stations.items() if isinstance(station, Store)}
    pool = next(station for station in stations.values() if isinstance(station, Pool))
    broadcast = next(station for station in stations.values() if isinstance(station, Broadcast))
    return HopNames(
        *batcher.hops,
        log.hop,
        group.hop,
        pool.hop,
        stores["postgres"],
        stores["redis"],
        stores["clickhouse"],
        *broadcast.hops,
    )


def record(
    scratch: Path, scenario: Scenario, epoch_ns: int, host: HostUse, broker_logs: Path | None = None
) -> Recording:
    """Joins the hop logs of a run per frame.

    A frame that was split over polls takes the last time of each hop, as does one that several tenants receive. Only polls
    that had an effect count: what a worker refused as a duplicate tells nothing of when the frame was done. Who holds a frame
    proves that it was acknowledged (`started`) or sent (`delivered`), so a sender's later note of it is set back to then.

    Releases are chosen by key, so a frame may be priced by both. It counts as the canary's when that priced more than half of its
    events; how the events themselves were split, the `sentra_release_...` metrics tell.

    Args:
        scratch: Folder of the hop logs.
        scenario: Names hops and processes.
        epoch_ns: Start of the load, monotonic ns; all recorded times count from it.
        host: CPU by process and the host's own account; its length is the metrics' horizon.
        broker_logs: Folder with the brokers' logs of collections and safepoints; None where they are out of reach.
    """
    names = hop_names(scenario)
    gateway = hoplog.read_log(scratch, *hoplog.GATEWAY_FRAMES)
    columns, counters = _frame_columns(scratch, gateway, names)
    late_stamps = _set_back(columns, names.acked, names.started) + _set_back(columns, names.sent, names.delivered)
    frames = _frames_table(columns, scenario, epoch_ns)
    events = _events_table(scratch, gateway)
    metrics = [
        metrics_table(frames, scenario, host.cpu),
        _lateness(scratch, epoch_ns, host.seconds),
        *release_metrics(scratch, epoch_ns, host.seconds),
        *_host_metrics(host),
        _idle(host),
    ]
    return Recording(
        tables=Tables(
            frames=frames,
            events=events,
            metrics=pl.concat(metrics),
            jobs=jobs_table(scratch, epoch_ns),
            pauses=pauses_table(scratch, broker_logs, epoch_ns, epoch_ns + host.seconds * NS_PER_S),
            details=details_table(scratch, gateway["frame"], epoch_ns),
        ),
        negative_hops=negative_hops(frames, events, scenario),
        late_stamps=late_stamps,
        counters=counters,
    )


def negative_hops(frames: pl.DataFrame, events: pl.DataFrame, scenario: Scenario) -> dict[str, int]:
    """Counts by hop the frames whose hop lies before its predecessor; hops without any are left out.

    Before the first hop lies the intended send time of the frame's first event: the frame was opened by it.
    """
    first_event = (frames["events"].cum_sum() - frames["events"]).cast(pl.Int64)
    found = {}
    for edge in hop_edges(scenario):
        if edge.after == INTENDED:
            count = int((events["intended_offset_ns"].gather(first_event) > 0).sum())
        else:
            count = int((frames[hop_column(edge.hop)] < frames[hop_column(edge.after)]).sum() or 0)
        if count:
            found[edge.hop] = count
    return found


def _set_back(columns: Columns, sent: str, held: str) -> int:
    late = (columns[sent] > columns[held]) & (columns[sent] != _NEVER)
    columns[sent] = np.where(late, columns[held], columns[sent])
    return int(late.sum())


def _frame_columns(scratch: Path, gateway: NDArray[np.void], names: HopNames) -> tuple[Columns, dict[str, int]]:
    frame = gateway["frame"]
    worker = hoplog.read_log(scratch, *hoplog.WORKER_FRAMES)
    took = worker[worker["events"] > worker["duplicates"]]
    at = _Rows(frame, took["frame"])
    columns: Columns = {
        "frame": frame,
        "partition": gateway["partition"],
        "events": gateway["events"],
        "poll": at.last(took["poll"]),
        names.received: gateway["received"],
        names.closed: gateway["closed"],
        names.acked: gateway["acked"],
        names.started: at.last(took["started"]),
        names.priced: at.last(took["priced"]),
        names.committed: at.last(took["committed"]),
        names.redis: at.last(took["redis"]),
    }
    counts = {"acked": gateway["events"]}
    logs = {
        names.clickhouse: hoplog.CLICKHOUSE_VISIBLE,
        names.sent: hoplog.FANOUT_SENT,
        names.delivered: hoplog.SUBSCRIBER_DELIVERED,
    }
    for hop, log in logs.items():
        rows = hoplog.read_log(scratch, *log)
        at = _Rows(frame, rows["frame"])
        columns[hop] = at.last(rows["at"])
        counts[hop] = at.total(rows["events"])
    complete = counts[names.delivered] >= gateway["events"]
    columns["lost"] = ~complete
    columns["canary"] = _mostly_canary(scratch, gateway)
    columns[names.delivered] = np.where(complete, columns[names.delivered], _NEVER)
    counters = {
        "acked": int(gateway["events"].sum()),
        "delivered": int(np.minimum(counts[names.delivered], gateway["events"]).sum()),
        "delivered_again": int(np.maximum(counts[names.delivered] - gateway["events"], 0).sum()),
        "polls": len(np.unique(worker["poll"])),
        "frames": len(frame),
    }
    return columns, counters


def _mostly_canary(scratch: Path, gateway: NDArray[np.void]) -> NDArray[np.bool_]:
    rows = hoplog.read_log(scratch, *hoplog.WORKER_RELEASES)
    canary_events = _Rows(gateway["frame"], rows["frame"]).total(rows["canary"])
    return np.asarray(2 * canary_events > gateway["events"])


class _Rows:
    """Rows of a log, gathered by the frames of another: `last` and `total` return an entry per frame."""

    def __init__(self, frames: NDArray[np.int64], row_frames: NDArray[np.int64]) -> None:
        order = np.argsort(frames, kind="stable")
        place = np.minimum(np.searchsorted(frames, row_frames, sorter=order), max(len(frames) - 1, 0))
        self._known = frames[order][place] == row_frames if len(frames) else np.zeros(len(row_frames), dtype=bool)
        self._at = order[place] if len(frames) else place
        self._count = len(frames)

    def last(self, values: NDArray[Any]) -> NDArray[np.int64]:
        """Returns the greatest value per frame; `_NEVER` for a frame without rows, or with one whose process logged 0, "did not"."""
        found = np.zeros(self._count, dtype=np.int64)
        np.maximum.at(found, self._at[self._known], np.where(values == 0, _NEVER, values)[self._known])
        return np.where(found == 0, _NEVER, found)

    def total(self, values: NDArray[Any]) -> NDArray[np.int64]:
        """Returns the sum of values per frame."""
        found = np.zeros(self._count, dtype=np.int64)
        np.add.at(found, self._at[self._known], values[self._known])
        return found


def _frames_table(columns: Columns, scenario: Scenario, epoch_ns: int) -> pl.DataFrame:
    hops = [edge.hop for edge in hop_edges(scenario)]
    count = len(columns["frame"])
    table = {
        "frame": pl.Series(columns["frame"]),
        "partition": pl.Series(columns["partition"]),
        "tenant": pl.Series([None] * count, dtype=pl.Int32),
        "release": pl.Series(np.where(columns["canary"], "canary", "stable").tolist(), dtype=pl.String),
        "events": pl.Series(columns["events"]),
        "outcome": pl.Series(np.where(columns["lost"], "lost", "ok").tolist(), dtype=pl.String),
        "attempts": pl.Series(np.ones(count, dtype=np.int16)),
        "poll": _nullable(columns["poll"], 0),
    }
    table |= {hop_column(hop): _nullable(columns[hop], epoch_ns) for hop in hops}
    return pl.DataFrame(table).cast(pl.Schema(frame_schema(tuple(hops))))


def _nullable(values: NDArray[np.int64], origin: int) -> pl.Series:
    missing = values == _NEVER
    return pl.Series(np.where(missing, 0, values - origin)).set(pl.Series(missing), None)


def _events_table(scratch: Path, gateway: NDArray[np.void]) -> pl.DataFrame:
    """Events in order of the frames; the gateway logs a frame's events before the frame itself, so both logs run in step."""
    frame = pl.Series(np.repeat(gateway["frame"], gateway["events"]))
    offset_ns = np.repeat(-gateway["received"], gateway["events"])
    known = 0
    # A block at a time: an hour's log is over a gigabyte, and the table as much again.
    for rows in hoplog.read_blocks(scratch, *hoplog.GATEWAY_INTENDED):
        end = min(known + len(rows), len(frame))  # what follows is of frames that were never acknowledged
        block = rows[: end - known]
        if not np.array_equal(block["frame"], frame[known:end].to_numpy()):
            break
        offset_ns[known:end] += block["intended_ns"]
        known = end
    if known < len(frame):
        raise ValueError(f"{scratch}: the gateway's logs must hold the same frames, got a difference")
    return pl.DataFrame({"frame": frame, "intended_offset_ns": offset_ns})


def _lateness(scratch: Path, epoch_ns: int, horizon: int) -> pl.DataFrame:
    """The greatest lateness of the generator's messages due in each second."""
    messages = hoplog.read_log(scratch, *hoplog.GENERATOR_MESSAGES)
    second = (messages["due"] - epoch_ns) // NS_PER_S
    late_s = (messages["sent"] - messages["due"]) / NS_PER_S
    worst = np.zeros(horizon)
    np.maximum.at(worst, second[second < horizon], late_s[second < horizon])
    return _metric("sentra_generator_lateness_seconds", 'quantile="1"', worst)


def release_metrics(scratch: Path, epoch_ns: int, horizon: int) -> list[pl.DataFrame]:
    """Returns what each release did in each second, of the requests that a canary had a part in; nothing without any.

    `sentra_release_job_seconds` is the longest job of the second, absent where there was none; the others are sums.
    """
    rows = hoplog.read_log(scratch, *hoplog.PRICING_RELEASES)
    second = (rows["at"] - epoch_ns) // NS_PER_S
    rows, second = rows[(second >= 0) & (second < horizon)], second[(second >= 0) & (second < horizon)]
    tables = []
    for release in ("stable", "canary") if len(rows) else ():
        own = rows["canary"] == (release == "canary")
        mine, at, labels = rows[own], second[own], f'release="{release}"'
        sums = {
            "events": np.where(mine["failed"], 0, mine["events"]),
            "errors": mine["failed"],
            "shadow_checked": mine["checked"],
            "shadow_wrong": mine["wrong"],
            "cpu_seconds": mine["cpu_ns"] / NS_PER_S,
        }
        for name, values in sums.items():
            total = np.zeros(horizon)
            np.add.at(total, at, values)
            tables.append(_metric(f"sentra_release_{name}", labels, total))
        longest = np.full(horizon, -np.inf)
        np.maximum.at(longest, at, mine["duration_ns"] / NS_PER_S)
        slowest = _metric("sentra_release_job_seconds", f'{labels},quantile="1"', longest)
        tables.append(slowest.filter(pl.col("value").is_finite()))
    return tables


def _idle(host: HostUse) -> pl.DataFrame:
    """One row per process, at time zero: the cores it kept busy before the load."""
    labels = [f'process="{process}"' for process in host.idle_cores]
    rows = {"time_s": 0.0, "name": IDLE_CORES, "labels": labels, "value": list(host.idle_cores.values())}
    return pl.DataFrame(rows, schema=METRIC_COLUMNS)


def _host_metrics(host: HostUse) -> list[pl.DataFrame]:
    delays = zip(host.run_delay.processes, host.run_delay.seconds, strict=True)
    return [
        *(_metric("process_run_delay_seconds", f'process="{process}"', values) for process, values in delays),
        *(
            _metric("process_thread_cpu_seconds", f'process="{process}",thread="{group}"', values)
            for (process, group), values in host.threads.items()
        ),
        *_held(RESIDENT_MEMORY, host.resident_bytes),
        *_held(PRIVATE_MEMORY, host.private_bytes),
        *_held(OPEN_FDS, host.open_fds),
        *(
            _metric("process_context_switches", f'process="{process}",kind="{kind}"', values)
            for (process, kind), values in host.switches.items()
        ),
        _metric("node_cpu_seconds", 'mode="steal"', host.steal_s),
        _metric("node_cpu_seconds", 'mode="busy"', host.busy_s),
        _metric("node_procs_running", "", host.runnable),
    ]


def _held(name: str, by_process: Mapping[str, NDArray[np.float64]]) -> list[pl.DataFrame]:
    """What each process held; no row for a second in which there was no such process."""
    held = (_metric(name, f'process="{process}"', values) for process, values in by_process.items())
    return [rows.filter(pl.col("value").is_finite()) for rows in held]


def _metric(name: str, labels: str, values: NDArray[np.float64]) -> pl.DataFrame:
    time_s = np.arange(1, len(values) + 1, dtype=np.float64)
    return pl.DataFrame({"time_s": time_s, "name": name, "labels": labels, "value": values}, schema=METRIC_COLUMNS)

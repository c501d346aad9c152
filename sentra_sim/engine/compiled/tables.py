"""A plan as flat tables of numbers: what the compiled engine runs on. No station is known by name from here on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentra_sim.engine.cgroups import accounts
from sentra_sim.engine.compiled.host_tables import HostRows
from sentra_sim.engine.compiled.layout import (
    APART,
    BACKGROUND,
    BREAKER,
    BROKER,
    CGROUP,
    COLUMNAR,
    COMMAND,
    COPY,
    CORE,
    DELAY,
    EDGE,
    EVENT,
    FETCH,
    HOST,
    LANE,
    LINE,
    NEIGHBOUR,
    NODE,
    OPEN,
    OWNER,
    PART,
    PROTOCOLS,
    REPLICA,
    ROOM,
    SEGMENT,
    SERVER,
    SHARD,
    SIZE_CLASS,
    SLOW_CLASS,
    SOON,
    STATION,
    STORE,
    THREAD,
    TIER,
    VACATION,
    WORK,
    WRITER,
    Table,
    free_rows,
    rows_of,
)
from sentra_sim.engine.compiled.numbering import Feed, Row
from sentra_sim.engine.compiled.poison_tables import poison_arrays, poison_settings
from sentra_sim.engine.compiled.recyclable import hop_calls, recycles
from sentra_sim.engine.compiled.release_tables import ReleaseRows
from sentra_sim.engine.compiled.station_tables import StationRows
from sentra_sim.engine.compiled.tracking import pressed, tracking_arrays, tracking_settings
from sentra_sim.engine.facts import calls_may_fail
from sentra_sim.engine.plan import LAG_POLLS, Plan
from sentra_sim.engine.streams import LOSS
from sentra_sim.engine.tallies import TIERS
from sentra_sim.scenario import Batcher, ConsumerGroup, Log, only
from sentra_sim.scenario.lanes import lanes_of_partitions, quanta, served_lanes
from sentra_sim.scenario.schema import Delay
from sentra_sim.scenario.topology import effect_hop


@dataclass(frozen=True)
class Tables:
    """The whole state of a run of the compiled engine, as it is before the first event.

    `state` has one row: the clock, counters, settings, and the addresses of the tables in `arrays`, which stay alive with this.
    """

    state: Table
    arrays: dict[str, NDArray[Any]]
    feeds: list[Feed]
    works_of: dict[str, list[int]]  # rows of `works` by station
    release_rows: dict[str, int]  # rows of `releases` by pool/release
    station_rows: dict[str, int]  # rows of `stations` by station
    kind_of: dict[str, str]  # in which table a station with tallies has its row
    store_of: dict[str, int]  # and which row
    felled: dict[str, list[str]] = field(default_factory=dict)  # by host: what it took along when it went down

    def tally_row(self, name: str) -> np.void:
        """Returns the row with the tallies of a station."""
        return self.arrays[self.kind_of[name]][self.store_of[name]]  # type: ignore[no-any-return]


def build_tables(plan: Plan, *, apart: Mapping[str, str]) -> Tables:
    """Builds the tables of a plan, but for those of things that come and go by number (`supply.py`).

    `apart`: the stations to be played apart, with what leads to each.
    """
    return _Builder(plan, apart).build()


class _Builder(StationRows):
    """Gives every thread, work and delay of a scenario its number, in the order in which the reference engine starts them."""

    def build(self) -> Tables:
        """Numbers all stations and returns the tables."""
        plan, scenario = self.plan, self.plan.scenario
        self._source_and_batcher()
        brokers = self._brokers()
        replicas = self._replicas()
        stations = [self._served(name) for name in self.served]
        self._backgrounds()
        releases = ReleaseRows(plan, self._delay)
        group = only(scenario, ConsumerGroup)[1]
        seconds = int(np.ceil(plan.cap_s)) + 2
        partitions = only(scenario, Log)[1].partitions
        if self.ways:
            self.state["loss_draws"] = self._delay(LOSS, Delay())
        size_classes = self._sizes()
        apart, cores = self._apart(stations)
        hosts = HostRows(plan, self.threads, NEIGHBOUR, self._delay)  # adds threads and delays
        lane_jobs, lanes = self._lanes()
        arrays: dict[str, NDArray[Any]] = {
            "heap": np.empty(ROOM, EVENT),
            "soon": np.zeros(SOON + 1, EVENT),
            "ring": np.empty(ROOM, EVENT),
            "nodes": free_rows(NODE, ROOM),
            "hosts": rows_of(HOST, hosts.hosts),
            "lanes": rows_of(LANE, lanes),
            "servers": self._server_rows(),
            "threads": rows_of(THREAD, self.threads),
            "works": rows_of(WORK, self.works),
            "delays": rows_of(DELAY, self.delays),
            "open_frame": rows_of(OPEN, [{"frame": -1}] * partitions),
            "due_partitions": np.empty(partitions, EVENT),
            "brokers": rows_of(BROKER, brokers),
            "shards": rows_of(SHARD, self._shards()),
            "copies": rows_of(COPY, self._copies()),
            "replicas": rows_of(REPLICA, replicas),
            "calls": np.array([self.number[name] for name in group.calls], dtype=np.int64),
            "stations": rows_of(STATION, stations),
            "hop_calls": np.array(hop_calls(scenario), dtype=np.int64),
            "links": np.array(self.links, dtype=np.int64),
            "backgrounds": rows_of(BACKGROUND, self.backgrounds),
            "stores": rows_of(STORE, self.special.stores),
            "commands": rows_of(COMMAND, self.special.commands),
            "columnars": rows_of(COLUMNAR, self.special.columnars),
            "writers": rows_of(WRITER, self.special.writers),
            "tiers": rows_of(TIER, [{"head": -1}] * (TIERS * len(self.special.writers))),
            "edges": rows_of(EDGE, self.special.edges),
            "slow_classes": rows_of(SLOW_CLASS, self.special.slow_classes),
            "cpu": np.zeros((accounts(scenario), seconds)),
            "virtual": np.zeros((2 * len(self.hosts), seconds)),
            "breakers": np.zeros(group.most_replicas * len(group.calls), BREAKER),
            "owners": rows_of(
                OWNER,
                [
                    {"owner": at % group.replicas, "target": at % group.replicas, "line": line}
                    for at, line in enumerate(lanes_of_partitions(only(scenario, Log)[1]))
                ],
            ),
            "lines": rows_of(LINE, self._lines()),
            "cgroups": rows_of(CGROUP, hosts.cgroups),
            "vacations": rows_of(VACATION, hosts.vacations),
            "fetches": rows_of(FETCH, self._fetches()),
            "apart": rows_of(APART, apart),
            "cores": rows_of(CORE, cores),
            "size_classes_table": rows_of(SIZE_CLASS, size_classes),
            "parts": rows_of(PART, [{"head": -1}] * partitions),
            "segments": free_rows(SEGMENT, ROOM),
            **releases.arrays,
            **tracking_arrays(plan),
            **poison_arrays(plan),
        }
        counts = {
            "room": ROOM,
            "host_count": len(self.hosts),
            "thread_count": len(self.threads),
            "background_count": len(self.backgrounds),
            "broker_count": len(brokers),
            "replica_count": len(replicas),
            "call_count": len(group.calls),
            "hop_count": len(self.hop),
            "second_count": seconds,
            "partition_count": partitions,
            "release_job_room": len(releases.arrays["release_jobs"]),
            "cgroup_count": len(hosts.cgroups),
            "vacation_count": len(hosts.vacations),
            "store_count": len(self.special.stores),
            "edge_count": len(self.special.edges),
            "apart_count": len(apart),
        }
        self._fill(self._settings() | releases.settings | tracking_settings(plan) | poison_settings(plan))
        self._fill(counts | {name: array.ctypes.data for name, array in arrays.items()})
        return Tables(
            state=self.state,
            arrays=arrays | {"lane_jobs": lane_jobs, "one": self.one},
            feeds=self.feeds,
            works_of=self.works_of,
            release_rows=releases.number,
            station_rows=self.number,
            kind_of=self.special.kind_of | dict.fromkeys(pressed(plan), "pressures"),
            store_of=self.special.row_of | dict.fromkeys(pressed(plan), 0),
        )

    def _fill(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.state[name] = value

    def _lanes(self) -> tuple[Table, list[Row]]:
        """Gives each lane room for the jobs of all its threads."""
        threads = np.bincount([int(thread["lane"]) for thread in self.threads], minlength=2 * len(self.hosts))
        jobs = np.empty(len(self.threads), EVENT)
        starts = jobs.ctypes.data + jobs.itemsize * (np.cumsum(threads) - threads)
        return jobs, [{"head": -1, "jobs": int(start)} for start in starts]

    def _lines(self) -> list[Row]:
        """Gives each consumer a line for each lane that it tells apart."""
        log, group = only(self.plan.scenario, Log)[1], only(self.plan.scenario, ConsumerGroup)[1]
        of_lanes = quanta(log, only(self.plan.scenario, Batcher)[1].max_events)[: served_lanes(log, group)]
        return [{"head": -1, "quantum": quantum} for quantum in of_lanes] * group.most_replicas

    def _settings(self) -> Row:
        plan = self.plan
        batcher = only(plan.scenario, Batcher)[1]
        log = only(plan.scenario, Log)[1]
        group = only(plan.scenario, ConsumerGroup)[1]
        return {
            "max_events": batcher.max_events,
            "linger": batcher.linger_s,
            "in_flight": log.in_flight,
            "acks": ("none", "leader", "all").index(log.acks),
            "replication_factor": log.replication_factor,
            "min_in_sync": log.min_insync_replicas,
            "high_watermark": log.high_watermark,
            "unclean": log.unclean_election,
            "controller": log.controller - 1,
            "broker_session_timeout": log.session_timeout_s,
            "retry_backoff": log.retry_backoff_s,
            "retry_backoff_max": log.retry_backoff_max_s,
            "delivery_timeout": log.delivery_timeout_s,
            "restart": log.restart_s,
            "preferred_election": log.preferred_election_s,
            "replica_lag": log.replica_lag_s,
            "controller_election": log.controller_election_s,
            "disk": log.disk_bytes_per_s,
            "event_bytes": plan.scenario.load.event_bytes,
            "retains": log.retains,
            "retention": log.retention_s,
            "retention_bytes": log.retention_bytes,
            "segment_bytes": log.segment_bytes,
            "retention_check": log.retention_check_s,
            "max_poll_interval": group.max_poll_interval_s,
            "reset_latest": group.offset_reset == "latest",
            "max_poll_events": group.max_poll_events,
            "parking": group.fetch_min_bytes > 1,
            "gather": group.gather_s,
            "orphan_head": -1,
            "protocol": PROTOCOLS[group.rebalance],
            "heartbeat": group.heartbeat_s,
            "session_timeout": group.session_timeout_s,
            "join": group.join_s,
            "ready": group.ready_s,
            "effect": self.hop[effect_hop(plan.scenario)],
            "idempotent": group.idempotent,
            "may_fail": calls_may_fail(plan.scenario),
            "retry_attempts": group.retry.attempts,
            "retry_base": group.retry.base_s,
            "retry_cap": group.retry.cap_s,
            "breaker_failures": group.breaker.failures,
            "breaker_open": group.breaker.open_s,
            "breaker_probes": group.breaker.probes,
            "max_age": group.max_age_s,
            "adaptive": group.adaptive_gather,
            "adapt_events": LAG_POLLS * group.max_poll_events,
            "joined_count": group.replicas,
            "seconds": plan.seconds,
            "recycles": recycles(plan.scenario),
            "line_count": served_lanes(log, group),
            "by_priority": group.service == "priority",
            "picks": log.retains or served_lanes(log, group) > 0,
        }

    def _server_rows(self) -> Table:
        rows: list[Row] = [{"head": -1, "idle_head": -1} for _ in range(self.servers)]
        for server, threads in self.special.idle_threads.items():
            rows[server] |= {"idle_head": threads[0], "idle_tail": threads[-1]}
            for thread, after in zip(threads, [*threads[1:], -1], strict=True):
                self.threads[thread]["next"] = after
        return rows_of(SERVER, rows)

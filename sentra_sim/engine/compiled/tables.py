"""A plan as flat tables of numbers: what the compiled engine runs on. No station is known by name from here on."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate, product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentra_sim.engine.cgroups import accounts, first_cgroups
from sentra_sim.engine.compiled.host_tables import HostRows
from sentra_sim.engine.compiled.poison_tables import poison_arrays, poison_settings
from sentra_sim.engine.compiled.store_tables import StoreRoles, StoreRows
from sentra_sim.engine.compiled.tracking import pressed, tracking_arrays, tracking_settings
from sentra_sim.engine.network import ways
from sentra_sim.engine.plan import (
    HEARTBEAT,
    LAG_POLLS,
    LOSS,
    SIZE,
    Plan,
    background_owners,
    background_purpose,
    backs_off,
    broker_name,
    calls_may_fail,
    release_name,
    replica_name,
    station_of,
)
from sentra_sim.engine.tallies import COLUMNAR as COLUMNAR_TALLIES
from sentra_sim.engine.tallies import EDGE as EDGE_TALLIES
from sentra_sim.engine.tallies import TIERS
from sentra_sim.engine.tallies import TRANSACTIONAL as TRANSACTIONAL_TALLIES
from sentra_sim.engine.trace import RELEASE_JOB
from sentra_sim.scenario import Batcher, Broadcast, ConsumerGroup, Log, Pool, Scenario, Source, Store, hop_edges, only
from sentra_sim.scenario.keys import PLACES
from sentra_sim.scenario.schema import AnyStation, Delay, Demand
from sentra_sim.scenario.topology import effect_hop

Table = NDArray[np.void]


def _record(ints: str, floats: str = "") -> np.dtype[np.void]:
    fields: list[Any] = [(name, np.int64) for name in ints.split()] + [(name, np.float64) for name in floats.split()]
    return np.dtype(fields, align=True)


# Every row of a table is one thing of the model; -1 stands for "none". `*_head` and `*_tail` are ends of linked lists.
ADDRESSES = (
    "heap soon ring nodes hosts lanes threads servers works delays draws due first_event event_partition event_frame "
    "open_frame frame_table hops request_table request_frames poll_table poll_frames brokers shards copies replicas calls "
    "stations links backgrounds cpu virtual "
    "marks next_event place splits releases release_jobs owners breakers "
    "cgroups vacations "
    "stores commands columnars writers tiers edges slow_classes "
    "fetches size_classes_table parts segments "
    "messages event_copies frame_copies frame_repeats event_key event_message tenants buckets pressures acked_frames "
    "event_poison frame_poison"
)
COUNTS = (
    "room host_count thread_count background_count broker_count replica_count call_count message_count max_frames "
    "hop_count second_count partition_count release_job_room cgroup_count vacation_count store_count edge_count"
)


def _digest() -> str:
    """Identifies the engine's source. It is part of a field's name, and so of the type for which Numba caches compiled code.

    Numba itself only looks at the file that holds the cached function, not at those which it calls.
    """
    files = sorted(Path(__file__).parents[1].rglob("*.py"))
    return f"{zlib.crc32(b''.join(file.read_bytes() for file in files)):08x}"


STATE = _record(
    f"{ADDRESSES} {COUNTS} source_{_digest()} "
    "seq heap_size soon_size ring_head ring_size full free_node frames polls requests listed taken message "
    "source_thread source_work network_delay batcher_server receive_work close_work timer_delay "
    "timer_set closing_head closing_tail "
    "max_events in_flight max_poll_events "
    "acks replication_factor min_in_sync high_watermark unclean controller request_room event_bytes "
    "lag_events by_key canary release_jobs_done pressed poisonous noted dead_letters given_up sifted "
    "orphan_head orphan_tail protocol preparing last_mark reread keeps_first effect idempotent "
    "may_fail retry_attempts breaker_failures breaker_probes adaptive joined_count "
    "loss_draws "
    "retains reset_latest free_segment parking pulling pull_first weighs size_draw size_per_frame size_classes "
    "tracked gated retrying copy_count shared tenant_count key_quota "
    "resend_server resend_work backoff_delay retries budgeted",
    "now seconds linger gather "
    "broker_session_timeout retry_backoff retry_backoff_max delivery_timeout restart preferred_election replica_lag "
    "controller_election disk "
    "shadow_share heartbeat session_timeout join ready retry_base retry_cap breaker_open max_age adapt_events poison_share "
    "retry_timeout retry_tokens budget_ratio budget_burst "
    "batch_bytes retention retention_bytes segment_bytes retention_check",
)
INDEX = _record("value")
SMALL = np.dtype([("value", np.int16)])
NUMBER = _record("", "value")
EVENT = _record("seq kind subject detail", "time")
HOST = _record(
    "cores ps idle low_running starts alarm watched limited down stalls all_cores",
    "slice speed clock first_speed network loss",
)
LANE = _record("head tail active joined jobs", "virtual rate")  # two a host: 2*h normal, 2*h + 1 low priority
THREAD = _record(
    "role unit server host lane low process next work ref running start_number token cgroup sibling",
    "remaining started ran finished virtual_start asked",
)
CGROUP = _record(
    "host holds stopped thread_head parked_head parked_tail collector_first collectors running alarm reply",
    "quota period end used counted warm_factor warm_cpu done",
)
VACATION = _record("kind subject gap length every events due under_way")
SERVER = _record("head tail idle_head idle_tail")
NODE = _record("work ref next")
WORK = _record("draw_start draw_count drawn", "job frame event factor cold tau")
DELAY = _record("draw_start draw_count drawn crosses from_host to_host", "mean")
FRAME = _record("partition events poll next outcome attempts request fetched offset", "bytes size")
PART = _record("start end floor head tail", "bytes active_bytes last")  # a partition where segments are deleted
SEGMENT = _record("next end", "bytes last")
SIZE_CLASS = _record("", "edge bytes")  # of a mix of sizes
OPEN = _record("frame room")
# `have`, `needs`, `sent` and `in_sync` are sets of replicas, bits by their step in the order of the shard's replicas.
REQUEST = _record(
    "shard first frames events catch_up acked appended gone fetched lost have needs sent previous next held_next",
    "appended_at bytes",
)
POLL = _record("replica first frames events failed")
BROKER = _record(
    "server append_work replicate_work replication_delay fetch_delay "
    "up talking fenced killed ready session start_number cgroup",
    "latency disk_free",
)
SHARD = _record(
    "leader in_sync outstanding blocked stopped head tail open_head open_tail returned_head returned_tail "
    "held_head held_tail frames events unfetched_head unfetched_tail",
    "backoff bytes",
)
COPY = _record(
    "behind frames events catching_up", "lag at bytes"
)  # a shard's replicas: number * replication factor + step
REPLICA = _record(
    "thread fetch_work process_work finish_work head tail waiting poll call dedupe_work "
    "life session alive joined starting returning leaving giving_up fenced heard told held space attempt tries jitter",
    "phase ceiling gather",
)
BREAKER = _record("failures opened passed", "until")  # of a consumer, for one station that it calls
OWNER = _record("owner target mark")  # of a partition: who polls it, who is to, in which round it became free
STATION = _record(
    "server work delay handover hop link_first links called thread writer_waiting head tail "
    "second_server second_work second_hop failure_draw intake store",
    "flush last_start failure",
)
BACKGROUND = _record("thread work broker", "every due")
MARK = _record("last_event counted canary_events")  # what is noted of a frame beside its way; empty where nothing is
SPLIT = _record("release canary failed checked wrong left", "stable cost total begun")  # a poll at a pool with releases
RELEASE = _record(
    "threshold cold_events worked noise tail_draw error_draw shadow_draw begun",
    "factor tail_share tail_factor errors leak cold_factor wait wrong started",
)
STORE = _record(
    "station connections in_use waiting ready due committing outbox fsync siblings flushing life up starting "
    "events every_events notify batch relay_thread relay_work asleep relay_up command_first commands",
    "commit_delay page_writes every due_at stall until slowdown pages page unchanged restart redo poll looked "
    + " ".join(TRANSACTIONAL_TALLIES),
)
COLUMNAR = _record(
    "station first active turn fan_in merge_work parts_to_delay parts_to_throw",
    "min_delay max_delay retry " + " ".join(COLUMNAR_TALLIES),
)
WRITER = _record("store thread head tail busy rows parts merging tiers", "last_start")
TIER = _record("head tail count")
EDGE = _record(
    "station first classes deliver_work connect_work reconnect "
    "life job_life up starting welcome welcoming encoding parked",
    "count restart read buffer hold reconnect_max " + " ".join(EDGE_TALLIES),
)
SLOW_CLASS = _record("edge connected", "part share clients backoff unsent behind missed clock left")
COMMAND = _record("work child thread store running", "every first")
FETCH = _record("head tail answer away timed answers broker follower bunch", "min_bytes bytes since wait")


SOON = 32  # calendar entries in the sorted list; one more row takes what comes from the heap

COOPERATIVE, EAGER, STATIC = range(3)  # how partitions change hands
PROTOCOLS = {"cooperative": COOPERATIVE, "eager": EAGER, "static": STATIC}

# Roles of threads: whose loop goes on when the thread's job is done.
SOURCE, BATCHER, LOG, CONSUMER, SERVE, WRITE, SEND, SUBSCRIBE, TICK, SPLITS, NEIGHBOUR = range(11)
SESSION, CHILD, RELAY, INSERT, MERGE, FAN, CLIENT = range(11, 18)

# Intakes of stations: what happens to a poll that is handed to one.
QUEUED, HANDED_OVER, GATHERED, TRANSACTIONAL, COLUMNAR_STORE = range(5)

ACKS_NONE, ACKS_LEADER, ACKS_ALL = range(3)
BUNCH = 2  # in `catch_up` of a request: it is what a follower's fetch brings


@dataclass(frozen=True)
class Tables:
    """The whole state of a run of the compiled engine, as it is before the first event.

    `state` has one row: the clock, counters, settings, and the addresses of the tables in `arrays`, which stay alive with this.
    """

    state: Table
    arrays: dict[str, NDArray[Any]]
    works_of: dict[str, list[int]]  # rows of `works` by station
    release_rows: dict[str, int]  # rows of `releases` by pool/release
    station_rows: dict[str, int]  # rows of `stations` by station
    kind_of: dict[str, str]  # in which table a station with tallies has its row
    store_of: dict[str, int]  # and which row
    felled: dict[str, list[str]] = field(default_factory=dict)  # by host: what it took along when it went down

    def tally_row(self, name: str) -> np.void:
        """Returns the row with the tallies of a station."""
        return self.arrays[self.kind_of[name]][self.store_of[name]]  # type: ignore[no-any-return]


def build_tables(plan: Plan, room: int) -> Tables:
    """Builds the tables of a plan.

    Args:
        plan: what to run.
        room: how many calendar entries and how many queued jobs there may be at one time.
    """
    return _Builder(plan).build(room)


class _Builder:
    """Gives every thread, work and delay of a scenario its number, in the order in which the reference engine starts them."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        scenario = plan.scenario
        self.hosts = {name: number for number, name in enumerate(scenario.hosts)}
        self.hop = {edge.hop: number for number, edge in enumerate(hop_edges(scenario))}
        self.process = _first_process(scenario)
        self.cgroup = first_cgroups(scenario)
        self.ways = ways(scenario)
        self.served = [
            name for name, station in scenario.stations.items() if isinstance(station, Pool | Store | Broadcast)
        ]
        self.state = np.zeros(1, STATE)
        self.threads: list[dict[str, float]] = []
        self.works: list[dict[str, float]] = []
        self.works_of: dict[str, list[int]] = {name: [] for name in scenario.stations}
        self.delays: list[dict[str, float]] = []
        self.draws: list[NDArray[np.float64]] = []
        self.drawn = 0
        self.servers = 0
        self.links: list[int] = []
        self.backgrounds: list[dict[str, float]] = []
        self.release_rows: dict[str, int] = {}
        roles = StoreRoles(SESSION, CHILD, RELAY, INSERT, MERGE)
        self.special = StoreRows(
            plan,
            self.served,
            roles,
            server=self._server,
            work=self._work,
            delay=self._delay,
            thread=self._own_thread,
        )

    def build(self, room: int) -> Tables:
        """Numbers all stations and returns the tables."""
        plan, scenario = self.plan, self.plan.scenario
        self._source_and_batcher()
        brokers = self._brokers()
        replicas = self._replicas()
        stations = [self._served(name) for name in self.served]
        self._backgrounds()
        releases = self._release_arrays(room)  # before the tables of what they draw
        group = only(scenario, ConsumerGroup)[1]
        seconds = int(np.ceil(plan.cap_s)) + 2
        most = plan.max_frames
        partitions = only(scenario, Log)[1].partitions
        if self.ways:
            self.state["loss_draws"] = self._delay(LOSS, Delay())
        size_classes = self._sizes()
        rows = HostRows(plan, self.threads, NEIGHBOUR, self._delay)  # adds threads and delays
        lane_jobs = np.zeros((2 * len(self.hosts), len(self.threads)), EVENT)
        lanes: list[dict[str, float]] = [{"head": -1, "jobs": jobs.ctypes.data} for jobs in lane_jobs]
        arrays: dict[str, NDArray[Any]] = {
            "heap": np.zeros(room, EVENT),
            "soon": np.zeros(SOON + 1, EVENT),
            "ring": np.zeros(room, EVENT),
            "nodes": _free_rows(NODE, room),
            "hosts": _rows(HOST, rows.hosts),
            "lanes": _rows(LANE, lanes),
            "servers": self._server_rows(),
            "threads": _rows(THREAD, self.threads),
            "works": _rows(WORK, self.works),
            "delays": _rows(DELAY, self.delays),
            "draws": np.concatenate(self.draws),
            "due": np.ascontiguousarray(plan.offered.send_s, dtype=np.float64),
            "first_event": np.ascontiguousarray(plan.first_event, dtype=np.int64),
            "event_partition": np.ascontiguousarray(plan.partition, dtype=np.int16),
            "event_frame": np.full(len(plan.partition), -1, dtype=np.int64),
            "open_frame": _rows(OPEN, [{"frame": -1}] * partitions),
            "frame_table": np.empty(most, FRAME),
            "hops": np.empty((most, len(self.hop))),
            "request_table": np.empty(most + room + 1, REQUEST),  # some are sent again; the last row is spare
            "request_frames": np.empty(most, np.int64),
            "poll_table": np.empty(most + room, POLL),  # those of a killed consumer's poll are taken again
            "poll_frames": np.empty(most + room, np.int64),
            "brokers": _rows(BROKER, brokers),
            "shards": _rows(SHARD, self._shards()),
            "copies": _rows(COPY, self._copies()),
            "replicas": _rows(REPLICA, replicas),
            "calls": np.array([self.served.index(name) for name in group.calls], dtype=np.int64),
            "stations": _rows(STATION, stations),
            "links": np.array(self.links, dtype=np.int64),
            "backgrounds": _rows(BACKGROUND, self.backgrounds),
            "stores": _rows(STORE, self.special.stores),
            "commands": _rows(COMMAND, self.special.commands),
            "columnars": _rows(COLUMNAR, self.special.columnars),
            "writers": _rows(WRITER, self.special.writers),
            "tiers": _rows(TIER, [{"head": -1}] * (TIERS * len(self.special.writers))),
            "edges": _rows(EDGE, self.special.edges),
            "slow_classes": _rows(SLOW_CLASS, self.special.slow_classes),
            "cpu": np.zeros((accounts(scenario), seconds)),
            "virtual": np.zeros((2 * len(self.hosts), seconds)),
            **releases,
            "breakers": np.zeros(group.most_replicas * len(group.calls), BREAKER),
            "owners": _rows(
                OWNER, [{"owner": at % group.replicas, "target": at % group.replicas} for at in range(partitions)]
            ),
            "cgroups": _rows(CGROUP, rows.cgroups),
            "vacations": _rows(VACATION, rows.vacations),
            "fetches": _rows(FETCH, self._fetches()),
            "size_classes_table": _rows(SIZE_CLASS, size_classes),
            "parts": _rows(PART, [{"head": -1}] * partitions),
            "segments": _free_rows(SEGMENT, room),
        }
        counts = {
            "room": room,
            "host_count": len(self.hosts),
            "thread_count": len(self.threads),
            "background_count": len(self.backgrounds),
            "broker_count": len(brokers),
            "replica_count": len(replicas),
            "call_count": len(group.calls),
            "message_count": len(plan.offered.send_s),
            "max_frames": most,
            "hop_count": len(self.hop),
            "second_count": seconds,
            "partition_count": partitions,
            "request_room": most + room,
            "release_job_room": len(releases["release_jobs"]),
            "cgroup_count": len(rows.cgroups),
            "vacation_count": len(rows.vacations),
            "store_count": len(self.special.stores),
            "edge_count": len(self.special.edges),
        }
        arrays |= tracking_arrays(plan) | poison_arrays(plan)
        self._fill(self._settings() | tracking_settings(plan) | poison_settings(plan))
        self._fill(counts | {name: array.ctypes.data for name, array in arrays.items()})
        station_rows = {name: number for number, name in enumerate(self.served)}
        return Tables(
            state=self.state,
            arrays=arrays | {"lane_jobs": lane_jobs},
            works_of=self.works_of,
            release_rows=self.release_rows,
            station_rows=station_rows,
            kind_of=self.special.kind_of | dict.fromkeys(pressed(plan), "pressures"),
            store_of=self.special.row_of | dict.fromkeys(pressed(plan), 0),
        )

    def _fill(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.state[name] = value

    def _settings(self) -> dict[str, float]:
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
        }

    def _draw(self, key: tuple[str, str]) -> dict[str, float]:
        numbers = self.plan.multipliers[key]
        self.draws.append(numbers)
        self.drawn += len(numbers)
        return {"draw_start": self.drawn - len(numbers), "draw_count": len(numbers)}

    def _work(self, key: tuple[str, str], demand: Demand) -> int:
        self.works_of[station_of(key[0])].append(len(self.works))
        self.works.append(
            self._draw(key)
            | {
                "job": demand.job_s,
                "factor": 1.0,
                "frame": demand.frame_s,
                "event": demand.event_s,
                "cold": demand.cold_s,
                "tau": demand.cold_tau_s,
            }
        )
        return len(self.works) - 1

    def _delay(self, key: tuple[str, str], delay: Delay) -> int:
        row = self._draw(key) | {"mean": delay.mean_s}
        if way := self.ways.get((station_of(key[0]), key[1])):
            row |= {"crosses": 1, "from_host": self.hosts[way[0]], "to_host": self.hosts[way[1]]}
        self.delays.append(row)
        return len(self.delays) - 1

    def _server_rows(self) -> Table:
        rows: list[dict[str, float]] = [{"head": -1, "idle_head": -1} for _ in range(self.servers)]
        for server, threads in self.special.idle_threads.items():
            rows[server] |= {"idle_head": threads[0], "idle_tail": threads[-1]}
            for thread, after in zip(threads, [*threads[1:], -1], strict=True):
                self.threads[thread]["next"] = after
        return _rows(SERVER, rows)

    def _server(self) -> int:
        self.servers += 1
        return self.servers - 1

    def _thread(
        self, role: int, unit: int, station: AnyStation, process: int, host: str, *, server: int = -1, replica: int = 0
    ) -> int:
        at, low = self.hosts[host], int(station.low_priority)
        self.threads.append(
            {
                "role": role,
                "unit": unit,
                "server": server,
                "host": at,
                "lane": 2 * at + low,
                "low": low,
                "process": process,
                "finished": -1.0,
                "cgroup": self.cgroup[process] + replica,
            }
        )
        return len(self.threads) - 1

    def _own_thread(self, role: int, unit: int, name: str) -> int:
        """Adds a thread of a station that takes its jobs from no queue that others know of."""
        station = self.plan.scenario.stations[name]
        return self._thread(role, unit, station, self.process[name], station.host)

    def _queue(self, role: int, unit: int, station: AnyStation, process: int, host: str, *, threads: int) -> int:
        """Adds a queue and the threads that serve it, which wait in their order."""
        server = self._server()
        for _ in range(threads):
            self._thread(role, unit, station, process, host, server=server)
        return server

    def _source_and_batcher(self) -> None:
        scenario = self.plan.scenario
        name, source = only(scenario, Source)
        self.state["source_thread"] = self._thread(SOURCE, 0, source, self.process[name], source.host)
        self.state["source_work"] = self._work((name, "send"), source.send)
        name, batcher = only(scenario, Batcher)
        self.state["network_delay"] = self._delay((name, "network"), batcher.network)
        self.state["batcher_server"] = self._queue(BATCHER, 0, batcher, self.process[name], batcher.host, threads=1)
        self.state["receive_work"] = self._work((name, "receive"), batcher.receive)
        self.state["close_work"] = self._work((name, "close"), batcher.close)
        self.state["timer_delay"] = self._delay((name, "timer"), batcher.timer)
        self.state["closing_head"] = -1
        name, source = only(scenario, Source)
        if source.retry:
            server = self._queue(CLIENT, 0, source, self.process[name], source.host, threads=1)
            self.state["resend_server"] = server
            self.state["resend_work"] = self._work((name, "resend"), source.send)
            self.state["backoff_delay"] = self._delay((name, "backoff"), source.retry.backoff)

    def _brokers(self) -> list[dict[str, float]]:
        name, log = only(self.plan.scenario, Log)
        rows: list[dict[str, float]] = []
        for number in range(log.brokers):
            owner = broker_name(name, number)
            rows.append(
                {
                    "server": self._queue(LOG, number, log, self.process[name] + number, log.host, threads=log.threads),
                    "append_work": self._work((owner, "append"), log.append),
                    "replicate_work": self._work((owner, "replicate"), log.replicate),
                    "replication_delay": self._delay((owner, "replication"), log.replication),
                    "fetch_delay": self._delay((owner, "fetch"), log.fetch),
                    "cgroup": self.cgroup[self.process[name] + number],
                    "up": 1,
                    "talking": 1,
                }
            )
        return rows

    def _shards(self) -> list[dict[str, float]]:
        log = only(self.plan.scenario, Log)[1]
        ends = dict.fromkeys(("head", "open_head", "open_tail", "returned_head", "held_head", "unfetched_head"), -1)
        in_sync = (1 << log.replication_factor) - 1
        return [{"leader": number, "in_sync": in_sync, **ends} for number in range(log.brokers)]

    def _copies(self) -> list[dict[str, float]]:
        log = only(self.plan.scenario, Log)[1]
        return [{"catching_up": -1}] * (log.brokers * log.replication_factor)

    def _sizes(self) -> list[dict[str, float]]:
        """Sets how events are weighed; returns the sizes of a mix, each with where its part of the numbers from 0 to 1 ends."""
        name, batcher = only(self.plan.scenario, Batcher)
        sizes = self.plan.scenario.load.sizes
        self.state["weighs"] = sizes is not None or batcher.batch_bytes > 0
        self.state["batch_bytes"] = batcher.batch_bytes or np.inf
        self.state["size_draw"] = -1
        if sizes is None:
            return []
        mean = sizes.mean_bytes if sizes.dist != "mix" else 1.0
        self.state["size_draw"] = self._delay((name, SIZE), Delay(mean_s=mean))
        self.state["size_per_frame"] = sizes.per == "frame"
        self.state["size_classes"] = len(sizes.bytes)
        return [{"edge": edge, "bytes": size} for edge, size in zip(accumulate(sizes.shares), sizes.bytes, strict=True)]

    def _fetches(self) -> list[dict[str, float]]:
        """Returns the fetches that wait: of consumers, then of nobody, which wait for nothing, then of followers; each at every broker."""
        log = only(self.plan.scenario, Log)[1]
        group = only(self.plan.scenario, ConsumerGroup)[1]
        empty: dict[str, float] = {"head": -1, "answer": -1, "bunch": -1}
        rows: list[dict[str, float]] = []
        if group.fetch_min_bytes > 1:
            rows = [
                empty | {"broker": broker, "min_bytes": min_bytes, "wait": group.fetch_max_wait_s}
                for min_bytes in (*([group.fetch_min_bytes] * group.most_replicas), 0)
                for broker in range(log.brokers)
            ]
        self.state["pulling"], self.state["pull_first"] = log.replicate_by == "pull", len(rows)
        if log.replicate_by == "pull":
            waits = {"min_bytes": log.replica_fetch_min_bytes, "wait": log.replica_fetch_wait_s}
            pairs = product(range(log.brokers), repeat=2)
            rows += [empty | waits | {"follower": follower, "broker": leader} for follower, leader in pairs]
        return rows

    def _replicas(self) -> list[dict[str, float]]:
        name, group = only(self.plan.scenario, ConsumerGroup)
        return [
            {
                "thread": self._thread(CONSUMER, number, group, self.process[name], group.host, replica=number),
                "fetch_work": self._work((replica_name(name, number), "fetch"), group.fetch),
                "process_work": self._work((replica_name(name, number), "process"), group.process),
                "finish_work": self._work((replica_name(name, number), "finish"), group.finish),
                "dedupe_work": self._work((replica_name(name, number), "dedupe"), group.dedupe),
                "phase": self.plan.phase[replica_name(name, number), HEARTBEAT],
                "jitter": self._jitter(replica_name(name, number)),
                "gather": group.gather_s,
                "head": -1,
                "poll": -1,
                "waiting": number < group.replicas,
                "alive": number < group.replicas,
                "joined": number < group.replicas,
            }
            for number in range(group.most_replicas)
        ]

    def _jitter(self, owner: str) -> int:
        return self._delay((owner, "jitter"), Delay(mean_s=1.0)) if backs_off(self.plan.scenario) else -1

    def _served(self, name: str) -> dict[str, float]:
        station = self.plan.scenario.stations[name]
        unit, process = self.served.index(name), self.process[name]
        row: dict[str, float]
        if isinstance(station, Broadcast):
            role = SEND if station.subscribers is None else FAN
            row = {
                "server": self._queue(role, unit, station, process, station.host, threads=1),
                "second_server": self._queue(SUBSCRIBE, unit, station, process + 1, station.subscriber_host, threads=1),
                "work": self._work((name, "send"), station.send),
                "second_work": self._work((name, "receive"), station.receive),
                "handover": self._delay((name, "handover"), station.handover),
                "intake": HANDED_OVER,
                "delay": self._delay((name, "network"), station.network),
                "hop": self.hop[station.hops[0]],
                "second_hop": self.hop[station.hops[1]],
            }
            if station.subscribers is not None:
                row["store"] = self.special.edge(name, station.subscribers, station.recovery)
            return row
        assert isinstance(station, Pool | Store)
        if isinstance(station, Pool) and station.recovery is not None:
            station = station.as_store
        row = {
            "work": self._work((name, "demand"), station.demand),
            "delay": self._delay((name, "delay"), station.delay),
            "handover": -1,
            "hop": self.hop[station.hop],
            "link_first": len(self.links),
            "links": len(station.to),
            "called": name in only(self.plan.scenario, ConsumerGroup)[1].calls,
            "head": -1,
            "last_start": -1.0,
            "writer_waiting": 1,
        }
        if station.failure is not None:
            row |= {"failure": station.failure, "failure_draw": self._delay((name, "failure"), Delay(mean_s=1.0))}
        self.links.extend(self.served.index(successor) for successor in station.to)
        if isinstance(station, Store) and station.is_columnar:
            row |= {"intake": COLUMNAR_STORE, "store": self.special.columnar(name, station), "flush": station.flush_s}
        elif isinstance(station, Store) and station.flush_s > 0.0:
            row |= {"thread": self._thread(WRITE, unit, station, process, station.host), "flush": station.flush_s}
            row["intake"] = GATHERED
        elif isinstance(station, Store) and station.is_transactional:
            row |= {"intake": TRANSACTIONAL, "store": self.special.transactional(name, station)}
        else:
            role = SPLITS if isinstance(station, Pool) and station.releases else SERVE
            row["server"] = self._queue(role, unit, station, process, station.host, threads=station.threads)
        return row

    def _release_arrays(self, room: int) -> dict[str, NDArray[Any]]:
        """What releases need: a list of each frame's events, a poll's split, their account; hardly anything without any."""
        pools = [(name, pool) for name, pool in self.plan.scenario.stations.items() if isinstance(pool, Pool)]
        name, pool = next(((name, pool) for name, pool in pools if pool.releases), ("", None))
        most, events = (self.plan.max_frames, len(self.plan.partition)) if pool is not None else (0, 0)
        polls = most + room if most else 0
        marks = np.zeros(most, MARK)
        marks["last_event"] = -1
        self.state["by_key"], self.state["canary"] = pool is not None, -1
        self.state["shadow_share"] = pool.shadow_share if pool is not None else 0.0
        return {
            "marks": marks,
            "next_event": np.zeros(events, dtype=np.int64),
            "place": self.plan.place,
            "splits": np.zeros(polls, SPLIT),
            "releases": _rows(RELEASE, self._releases(name, pool) if pool is not None else []),
            "release_jobs": np.zeros(2 * polls, RELEASE_JOB),
        }

    def _releases(self, name: str, pool: Pool) -> list[dict[str, float]]:
        rows: list[dict[str, float]] = []
        for number, (release, spec) in enumerate(pool.releases.items()):
            owner = release_name(name, release)
            self.release_rows[owner] = number
            unit = Delay(mean_s=1.0)  # a delay row of mean 1 gives the numbers of a stream as they are
            if spec.weight > 0.0:
                self.state["canary"] = number
            rows.append(
                {
                    "threshold": round(spec.weight * PLACES),
                    "cold_events": spec.cold_events,
                    "noise": self._delay((owner, "demand"), unit),
                    "tail_draw": self._delay((owner, "tail"), unit),
                    "error_draw": self._delay((owner, "error"), unit),
                    "shadow_draw": self._delay((owner, "shadow"), unit),
                    "begun": spec.weight > 0.0,
                    "factor": spec.factor,
                    "tail_share": spec.tail_share,
                    "tail_factor": spec.tail_factor,
                    "errors": spec.errors,
                    "leak": spec.leak_per_s,
                    "cold_factor": spec.cold_factor,
                    "wait": spec.wait_s,
                    "wrong": spec.wrong,
                }
            )
        return rows

    def _backgrounds(self) -> None:
        for name, station in self.plan.scenario.stations.items():
            for owned, owner in enumerate(background_owners(name, station)):
                for number, job in enumerate(station.background):
                    key = (owner, background_purpose(number))
                    thread = self._thread(
                        TICK, len(self.backgrounds), station, self.process[name] + owned, station.host
                    )
                    due = job.every_s * self.plan.phase[key]
                    row = {"thread": thread, "work": self._work(key, job.demand), "every": job.every_s, "due": due}
                    self.backgrounds.append(row | {"broker": owned if isinstance(station, Log) else -1})


def _first_process(scenario: Scenario) -> dict[str, int]:
    """Returns the number of each station's first process, in the order of `processes`."""
    first: dict[str, int] = {}
    number = 0
    for name, station in scenario.stations.items():
        first[name] = number
        number += station.brokers if isinstance(station, Log) else 2 if isinstance(station, Broadcast) else 1
    return first


def _rows(kind: np.dtype[np.void], rows: list[dict[str, float]]) -> Table:
    table = np.zeros(len(rows), kind)
    for number, row in enumerate(rows):
        for name, value in row.items():
            table[name][number] = value
    return table


def _free_rows(kind: np.dtype[np.void], room: int) -> Table:
    rows = np.zeros(room, kind)
    rows["next"] = np.arange(1, room + 1)
    rows["next"][-1] = -1
    return rows

"""A plan as flat tables of numbers: what the compiled engine runs on. No station is known by name from here on."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sentra_sim.engine.numbers import Numbers
from sentra_sim.engine.plan import Plan, background_owners, background_purpose, broker_name, replica_name, station_of
from sentra_sim.engine.trace import process_hosts
from sentra_sim.scenario import Batcher, Broadcast, ConsumerGroup, Log, Pool, Scenario, Source, Store, hop_edges, only
from sentra_sim.scenario.schema import AnyStation, Delay, Demand

Table = NDArray[np.void]


def _record(ints: str, floats: str = "") -> np.dtype[np.void]:
    fields: list[Any] = [(name, np.int64) for name in ints.split()] + [(name, np.float64) for name in floats.split()]
    return np.dtype(fields, align=True)


# Every row of a table is one thing of the model; -1 stands for "none". `*_head` and `*_tail` are ends of linked lists.
ADDRESSES = (
    "heap soon ring nodes hosts lanes threads servers works delays due first_event event_partition event_frame intended "
    "open_frame frame_table hops request_table request_frames poll_table poll_frames brokers followers replicas calls "
    "stations links backgrounds cpu virtual supply due_partitions"
)
COUNTS = (
    "room host_count thread_count background_count broker_count replica_count call_count message_count event_count "
    "hop_count second_count partition_count"
)


def _digest() -> str:
    """Identifies the engine's source. It is part of a field's name, and so of the type for which Numba caches compiled code.

    Numba itself only looks at the file that holds the cached function, not at those which it calls.
    """
    files = sorted(Path(__file__).parents[1].rglob("*.py"))
    return f"{zlib.crc32(b''.join(file.read_bytes() for file in files)):08x}"


STATE = _record(
    f"{ADDRESSES} {COUNTS} source_{_digest()} "
    "seq heap_size soon_size ring_head ring_size failed free_node frames polls requests listed taken message "
    "frame_end poll_end request_end listed_end taken_end message_end event_end "
    "frame_kept poll_kept request_kept event_kept "
    "source_thread source_work network_delay batcher_server receive_work close_work timer_delay "
    "timer_set closing_head closing_tail open_head open_tail "
    "max_events in_flight acks_all max_poll_events",
    "now cap seconds linger gather",
)
INDEX = _record("value")
SMALL = np.dtype([("value", np.int16)])
NUMBER = _record("", "value")
EVENT = _record("seq kind subject detail", "time")
HOST = _record("cores ps idle low_running starts alarm", "slice speed clock")
LANE = _record("head tail active joined jobs", "virtual rate")  # two a host: 2*h normal, 2*h + 1 low priority
THREAD = _record(
    "role unit server host lane low process next work ref running start_number token",
    "remaining started ran finished virtual_start",
)
SERVER = _record("head tail idle_head idle_tail")
NODE = _record("work ref next")
WORK = _record("numbers draw_count drawn stream", "job frame event factor cold tau")
DELAY = _record("numbers draw_count drawn stream", "mean")
FRAME = _record("partition events poll next over")
OPEN = _record("frame room before after")
REQUEST = _record("broker first frames events missing over")
POLL = _record("replica first frames events")
BROKER = _record(
    "server append_work replicate_work replication_delay fetch_delay "
    "outstanding head tail frames events follower_first followers"
)
REPLICA = _record("thread fetch_work process_work finish_work head tail waiting poll call")
STATION = _record(
    "server work delay handover hop link_first links called thread writer_waiting head tail "
    "second_server second_work second_hop",
    "flush last_start",
)
BACKGROUND = _record("thread work", "every due")


FRAMES, POLLS, TAKEN, REQUESTS, LISTED, LOAD, CALENDAR, NODES = np.arange(
    -8, 0
)  # what there can be more of, beside numbers
ROOM = 256  # calendar entries and queued jobs that there is room for at first; a power of two
SOON = 32  # calendar entries in the sorted list; one more row takes what comes from the heap

# Roles of threads: whose loop goes on when the thread's job is done.
SOURCE, BATCHER, LOG, CONSUMER, SERVE, WRITE, SEND, SUBSCRIBE, TICK = range(9)


class Feed(NamedTuple):
    """A stream of random numbers and the row of a table that reads it."""

    table: str
    row: int
    numbers: Numbers


@dataclass(frozen=True)
class Tables:
    """The whole state of a run of the compiled engine, as it is before the first event.

    `state` has one row: the clock, counters, settings, and the addresses of the tables in `arrays`, which stay alive with this.
    """

    state: Table
    arrays: dict[str, NDArray[Any]]
    works_of: dict[str, list[int]]  # rows of `works` by station
    feeds: list[Feed]


def build_tables(plan: Plan) -> Tables:
    """Builds the tables of a plan, but for those of things that come and go by number (`supply.py`)."""
    return _Builder(plan).build()


class _Builder:
    """Gives every thread, work and delay of a scenario its number, in the order in which the reference engine starts them."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        scenario = plan.scenario
        self.hosts = {name: number for number, name in enumerate(scenario.hosts)}
        self.hop = {edge.hop: number for number, edge in enumerate(hop_edges(scenario))}
        self.process = _first_process(scenario)
        self.served = [
            name for name, station in scenario.stations.items() if isinstance(station, Pool | Store | Broadcast)
        ]
        self.number = {name: number for number, name in enumerate(self.served)}
        self.called = set(only(scenario, ConsumerGroup)[1].calls)
        self.state = np.zeros(1, STATE)
        self.threads: list[dict[str, float]] = []
        self.works: list[dict[str, float]] = []
        self.works_of: dict[str, list[int]] = {name: [] for name in scenario.stations}
        self.delays: list[dict[str, float]] = []
        self.feeds: list[Feed] = []
        self.one = np.ones(1)
        self.servers = 0
        self.links: list[int] = []
        self.followers: list[int] = []
        self.backgrounds: list[dict[str, float]] = []

    def build(self) -> Tables:
        """Numbers all stations and returns the tables."""
        plan, scenario = self.plan, self.plan.scenario
        self._source_and_batcher()
        brokers = self._brokers()
        replicas = self._replicas()
        stations = [self._served(name) for name in self.served]
        self._backgrounds()
        group = only(scenario, ConsumerGroup)[1]
        seconds = int(np.ceil(plan.cap_s)) + 2
        partitions = only(scenario, Log)[1].partitions
        lane_jobs, lanes = self._lanes()
        arrays: dict[str, NDArray[Any]] = {
            "heap": np.empty(ROOM, EVENT),
            "soon": np.zeros(SOON + 1, EVENT),
            "ring": np.empty(ROOM, EVENT),
            "nodes": _free_nodes(ROOM),
            "hosts": self._hosts(),
            "lanes": _rows(LANE, lanes),
            "threads": _rows(THREAD, self.threads),
            "servers": _rows(SERVER, [{"head": -1, "idle_head": -1}] * self.servers),
            "works": _rows(WORK, self.works),
            "delays": _rows(DELAY, self.delays),
            "open_frame": _rows(OPEN, [{"frame": -1}] * partitions),
            "due_partitions": np.empty(partitions, EVENT),
            "brokers": _rows(BROKER, brokers),
            "followers": np.array(self.followers, dtype=np.int64),
            "replicas": _rows(REPLICA, replicas),
            "calls": np.array([self.number[name] for name in group.calls], dtype=np.int64),
            "stations": _rows(STATION, stations),
            "links": np.array(self.links, dtype=np.int64),
            "backgrounds": _rows(BACKGROUND, self.backgrounds),
            "cpu": np.zeros((len(process_hosts(scenario)), seconds)),
            "virtual": np.zeros((2 * len(self.hosts), seconds)),
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
        }
        self._fill(self._settings())
        self._fill(counts | {name: array.ctypes.data for name, array in arrays.items()})
        return Tables(self.state, arrays | {"lane_jobs": lane_jobs, "one": self.one}, self.works_of, self.feeds)

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
            "acks_all": log.acks == "all",
            "max_poll_events": group.max_poll_events,
            "gather": group.gather_s,
            "cap": plan.cap_s,
            "seconds": plan.seconds,
        }

    def _lanes(self) -> tuple[Table, list[dict[str, float]]]:
        """Gives each lane room for the jobs of all its threads."""
        threads = np.bincount([int(thread["lane"]) for thread in self.threads], minlength=2 * len(self.hosts))
        jobs = np.empty(len(self.threads), EVENT)
        starts = jobs.ctypes.data + jobs.itemsize * (np.cumsum(threads) - threads)
        return jobs, [{"head": -1, "jobs": int(start)} for start in starts]

    def _hosts(self) -> Table:
        rows = [
            {
                "cores": host.cores,
                "idle": host.cores,
                "ps": host.discipline == "ps",
                "slice": host.slice_s,
                "speed": host.speed,
            }
            for host in self.plan.scenario.hosts.values()
        ]
        return _rows(HOST, rows)

    def _draw(self, key: tuple[str, str], table: str, row: int) -> dict[str, float]:
        numbers = self.plan.multipliers[key]
        if numbers.constant:
            return {"stream": -1, "numbers": self.one.ctypes.data, "draw_count": 1}
        self.feeds.append(Feed(table, row, numbers))
        return {"stream": len(self.feeds) - 1}

    def _work(self, key: tuple[str, str], demand: Demand) -> int:
        self.works_of[station_of(key[0])].append(len(self.works))
        self.works.append(
            self._draw(key, "works", len(self.works))
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
        self.delays.append(self._draw(key, "delays", len(self.delays)) | {"mean": delay.mean_s})
        return len(self.delays) - 1

    def _server(self) -> int:
        self.servers += 1
        return self.servers - 1

    def _thread(self, role: int, unit: int, station: AnyStation, process: int, host: str, *, server: int = -1) -> int:
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
            }
        )
        return len(self.threads) - 1

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
        for name in ("closing_head", "open_head", "open_tail"):
            self.state[name] = -1

    def _brokers(self) -> list[dict[str, float]]:
        name, log = only(self.plan.scenario, Log)
        rows: list[dict[str, float]] = []
        for number in range(log.brokers):
            owner = broker_name(name, number)
            behind = [(number + step) % log.brokers for step in range(1, log.replication_factor)]
            rows.append(
                {
                    "server": self._queue(LOG, number, log, self.process[name] + number, log.host, threads=log.threads),
                    "append_work": self._work((owner, "append"), log.append),
                    "replicate_work": self._work((owner, "replicate"), log.replicate),
                    "replication_delay": self._delay((owner, "replication"), log.replication),
                    "fetch_delay": self._delay((owner, "fetch"), log.fetch),
                    "head": -1,
                    "follower_first": len(self.followers),
                    "followers": len(behind),
                }
            )
            self.followers.extend(behind)
        return rows

    def _replicas(self) -> list[dict[str, float]]:
        name, group = only(self.plan.scenario, ConsumerGroup)
        return [
            {
                "thread": self._thread(CONSUMER, number, group, self.process[name], group.host),
                "fetch_work": self._work((replica_name(name, number), "fetch"), group.fetch),
                "process_work": self._work((replica_name(name, number), "process"), group.process),
                "finish_work": self._work((replica_name(name, number), "finish"), group.finish),
                "head": -1,
                "waiting": 1,
            }
            for number in range(group.replicas)
        ]

    def _served(self, name: str) -> dict[str, float]:
        station = self.plan.scenario.stations[name]
        unit, process = self.number[name], self.process[name]
        if isinstance(station, Broadcast):
            return {
                "server": self._queue(SEND, unit, station, process, station.host, threads=1),
                "second_server": self._queue(SUBSCRIBE, unit, station, process + 1, station.subscriber_host, threads=1),
                "work": self._work((name, "send"), station.send),
                "second_work": self._work((name, "receive"), station.receive),
                "handover": self._delay((name, "handover"), station.handover),
                "delay": self._delay((name, "network"), station.network),
                "hop": self.hop[station.hops[0]],
                "second_hop": self.hop[station.hops[1]],
            }
        assert isinstance(station, Pool | Store)
        row: dict[str, float] = {
            "work": self._work((name, "demand"), station.demand),
            "delay": self._delay((name, "delay"), station.delay),
            "handover": -1,
            "hop": self.hop[station.hop],
            "link_first": len(self.links),
            "links": len(station.to),
            "called": name in self.called,
            "head": -1,
            "last_start": -1.0,
            "writer_waiting": 1,
        }
        self.links.extend(self.number[successor] for successor in station.to)
        if isinstance(station, Store) and station.flush_s > 0.0:
            row |= {"thread": self._thread(WRITE, unit, station, process, station.host), "flush": station.flush_s}
        else:
            row["server"] = self._queue(SERVE, unit, station, process, station.host, threads=station.threads)
        return row

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
                    self.backgrounds.append(row)


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
    for name in kind.names or ():
        table[name] = [row.get(name, 0) for row in rows]
    return table


def _free_nodes(room: int) -> Table:
    nodes = np.zeros(room, NODE)
    nodes["next"] = np.arange(1, room + 1)
    nodes["next"][-1] = -1
    return nodes

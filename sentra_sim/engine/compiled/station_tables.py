"""Rows of stations for the compiled engine's tables, in the order in which the reference engine starts them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate, product

import numpy as np

from sentra_sim.engine.compiled.layout import (
    BATCHER,
    CHILD,
    CLIENT,
    COLUMNAR_STORE,
    CONSUMER,
    FAN,
    GATHERED,
    HANDED_OVER,
    INSERT,
    LOG,
    MERGE,
    OF_GATEWAY,
    QUEUED,
    RELAY,
    SEND,
    SERVE,
    SESSION,
    SET_APART,
    SOURCE,
    SPLITS,
    STATE,
    SUBSCRIBE,
    TICK,
    TRANSACTIONAL,
    WRITE,
)
from sentra_sim.engine.compiled.numbering import Numbering, Row
from sentra_sim.engine.compiled.store_tables import StoreRoles, StoreRows
from sentra_sim.engine.facts import backs_off
from sentra_sim.engine.owners import background_owners, background_purpose, broker_name, replica_name
from sentra_sim.engine.plan import HEARTBEAT, Plan
from sentra_sim.engine.streams import SIZE
from sentra_sim.scenario import Batcher, Broadcast, ConsumerGroup, Log, Pool, Source, Store, hop_edges, only
from sentra_sim.scenario.schema import Delay


class StationRows(Numbering):
    """The rows of a plan's stations; what there is one of goes into the one row of `state`."""

    def __init__(self, plan: Plan, apart: Mapping[str, str]) -> None:
        super().__init__(plan)
        scenario = plan.scenario
        self.apart = apart
        self.state = np.zeros(1, STATE)
        self.hop = {edge.hop: number for number, edge in enumerate(hop_edges(scenario))}
        self.served = [
            name for name, station in scenario.stations.items() if isinstance(station, Pool | Store | Broadcast)
        ]
        self.number = {name: number for number, name in enumerate(self.served)}
        self.called = set(only(scenario, ConsumerGroup)[1].calls)
        self.links: list[int] = []
        self.backgrounds: list[Row] = []
        self.special = StoreRows(
            plan,
            self.number,
            StoreRoles(SESSION, CHILD, RELAY, INSERT, MERGE),
            server=self._server,
            work=self._work,
            delay=self._delay,
            thread=self._own_thread,
        )

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
        self.state["gateway_cgroup"] = self.cgroup[self.process[name]]
        for end in ("closing_head", "open_head", "open_tail"):
            self.state[end] = -1
        name, source = only(scenario, Source)
        if source.retry:
            server = self._queue(CLIENT, 0, source, self.process[name], source.host, threads=1)
            self.state["resend_server"] = server
            self.state["resend_work"] = self._work((name, "resend"), source.send)
            self.state["backoff_delay"] = self._delay((name, "backoff"), source.retry.backoff)

    def _brokers(self) -> list[Row]:
        name, log = only(self.plan.scenario, Log)
        rows: list[Row] = []
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

    def _shards(self) -> list[Row]:
        log = only(self.plan.scenario, Log)[1]
        ends = dict.fromkeys(("head", "open_head", "open_tail", "returned_head", "held_head", "unfetched_head"), -1)
        in_sync = (1 << log.replication_factor) - 1
        return [{"leader": number, "in_sync": in_sync, **ends} for number in range(log.brokers)]

    def _copies(self) -> list[Row]:
        log = only(self.plan.scenario, Log)[1]
        return [{"catching_up": -1}] * (log.brokers * log.replication_factor)

    def _sizes(self) -> list[Row]:
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

    def _fetches(self) -> list[Row]:
        """Returns the fetches that wait: of consumers, then of nobody, which wait for nothing, then of followers; each at every broker."""
        log = only(self.plan.scenario, Log)[1]
        group = only(self.plan.scenario, ConsumerGroup)[1]
        empty: Row = {"head": -1, "answer": -1, "bunch": -1}
        rows: list[Row] = []
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

    def _replicas(self) -> list[Row]:
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

    def _served(self, name: str) -> Row:
        station = self.plan.scenario.stations[name]
        unit, process = self.number[name], self.process[name]
        row: Row
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
        self.links.extend(self.number[successor] for successor in station.to)
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
            row["intake"] = SET_APART if name in self.apart else QUEUED
        return row

    def _apart(self, stations: list[Row]) -> tuple[list[Row], list[Row]]:
        """Returns the rows of stations that are played apart, and of their cores."""
        rows: list[Row] = []
        cores = 0
        for name, before in self.apart.items():
            station = self.plan.scenario.stations[name]
            assert isinstance(station, Pool | Store)
            rows.append(
                {
                    "station": self.number[name],
                    "host": self.hosts[station.host],
                    "process": self.process[name],
                    "before": stations[self.number[before]]["hop"],
                    "first": cores,
                    "threads": station.threads,
                }
            )
            cores += station.threads
        return rows, [{"poll": -1}] * cores

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
                    of_gateway = isinstance(station, Batcher) and station.recovery is not None
                    broker = owned if isinstance(station, Log) else OF_GATEWAY if of_gateway else -1
                    self.backgrounds.append(row | {"broker": broker})

"""Rows of stores and edges with a state of their own for the compiled engine's tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from sentra_sim.engine.audience import classes_of, sse_demands
from sentra_sim.engine.owners import blocking_purpose, child_purpose
from sentra_sim.engine.plan import Plan
from sentra_sim.engine.tallies import TIERS
from sentra_sim.scenario import Store
from sentra_sim.scenario.schema import Delay, Demand, Recovery, Subscribers

Row = dict[str, float]


class StoreRoles(NamedTuple):
    """The roles of threads of stores."""

    session: int
    child: int
    relay: int
    insert: int
    merge: int


class StoreRows:
    """The rows of a plan's transactional and columnar stores and its edges with subscribers.

    Args:
        plan: what to run.
        number: the rows of pools, stores and edges in the table of stations.
        roles: the roles of the threads.
        server: adds a queue and returns its number.
        work: adds a kind of work with its stream and returns its number.
        delay: the same of a delay.
        thread: adds a thread of a role, a unit and a station and returns its number.
    """

    def __init__(
        self,
        plan: Plan,
        number: dict[str, int],
        roles: StoreRoles,
        *,
        server: Callable[[], int],
        work: Callable[[tuple[str, str], Demand], int],
        delay: Callable[[tuple[str, str], Delay], int],
        thread: Callable[[int, int, str], int],
    ) -> None:
        self.plan, self.number, self.roles = plan, number, roles
        self.server, self.work, self.delay, self.thread = server, work, delay, thread
        self.stores: list[Row] = []
        self.commands: list[Row] = []
        self.columnars: list[Row] = []
        self.writers: list[Row] = []
        self.edges: list[Row] = []
        self.slow_classes: list[Row] = []
        self.idle_threads: dict[int, list[int]] = {}  # of queues whose threads nothing else sets to wait
        self.kind_of: dict[str, str] = {}
        self.row_of: dict[str, int] = {}

    def _add(self, kind: str, rows: list[Row], name: str, row: Row) -> int:
        self.kind_of[name], self.row_of[name] = kind, len(rows)
        rows.append(row)
        return len(rows) - 1

    def transactional(self, name: str, spec: Store) -> int:
        """Adds a transactional store and returns its number."""
        number = len(self.stores)
        checkpoint, relay, recovery = spec.checkpoint, spec.relay, spec.recovery
        row: Row = {
            "station": self.number[name],
            "connections": spec.connections,
            "waiting": self.server(),
            "ready": self.server(),
            "due": self.server(),
            "committing": self.server(),
            "outbox": self.server(),
            "fsync": self.delay((name, "fsync"), spec.fsync) if spec.fsync.mean_s > 0.0 else -1,
            "siblings": spec.commit_siblings,
            "commit_delay": spec.commit_delay_s,
            "up": 1,
            "asleep": 1,
            "relay_up": 1,
            "relay_work": -1,
            "due_at": np.inf,
            "slowdown": 1.0,
            "command_first": len(self.commands),
            "commands": len(spec.blocking),
        }
        threads = [self.thread(self.roles.session, number, name) for _ in range(spec.threads)]
        self.idle_threads[int(row["ready"])] = threads
        if checkpoint is not None:
            row |= {
                "every": checkpoint.every_s,
                "due_at": checkpoint.every_s,
                "every_events": checkpoint.every_events,
                "stall": checkpoint.seconds,
                "slowdown": checkpoint.slowdown,
                "pages": checkpoint.pages,
                "page": checkpoint.page_s,
                "unchanged": checkpoint.pages,
            }
        if relay is not None:
            row |= {
                "relay_thread": self.thread(self.roles.relay, number, name),
                "relay_work": self.work((name, "relay"), relay.demand),
                "poll": relay.poll_s,
                "batch": relay.batch_events,
                "notify": relay.notify,
            }
        if recovery is not None:
            row |= {"restart": recovery.restart_s, "redo": recovery.redo_event_s}
        for at, command in enumerate(spec.blocking):
            key = (name, blocking_purpose(at))
            self.commands.append(
                {
                    "work": self.work(key, command.demand),
                    "child": self.work((name, child_purpose(at)), command.child),
                    "thread": self.thread(self.roles.child, len(self.commands), name),
                    "store": number,
                    "every": command.every_s,
                    "first": command.every_s * self.plan.phase[key],
                }
            )
        return self._add("stores", self.stores, name, row)

    def columnar(self, name: str, spec: Store) -> int:
        """Adds a columnar store and returns its number."""
        number, merges = len(self.columnars), spec.merges
        row: Row = {
            "station": self.number[name],
            "first": len(self.writers),
            "active": spec.replicas,
        }
        if merges is not None:
            row |= {
                "fan_in": merges.fan_in,
                "merge_work": self.work((name, "merge"), merges.demand),
                "parts_to_delay": merges.parts_to_delay,
                "parts_to_throw": merges.parts_to_throw,
                "min_delay": merges.min_delay_s,
                "max_delay": merges.max_delay_s,
                "retry": merges.retry_s,
            }
        for _ in range(spec.most_replicas):
            unit, merging = len(self.writers), self.server()
            thread = self.thread(self.roles.insert, unit, name)
            if merges is not None:
                threads = [self.thread(self.roles.merge, unit, name) for _ in range(merges.threads)]
                self.idle_threads[merging] = threads
            self.writers.append(
                {
                    "store": number,
                    "thread": thread,
                    "head": -1,
                    "merging": merging,
                    "tiers": TIERS * unit,
                    "last_start": -1.0,
                }
            )
        return self._add("columnars", self.columnars, name, row)

    def edge(self, name: str, spec: Subscribers, recovery: Recovery | None) -> int:
        """Adds an edge with subscribers and returns its number."""
        classes = classes_of(self.plan.scenario, spec)
        sse = {purpose: self.work((name, purpose), demand) for purpose, demand in sse_demands(spec).items()}
        first = len(self.slow_classes)
        self.slow_classes.extend(
            {
                "edge": len(self.edges),
                "connected": 1,
                "fast": int(found.fast),
                "sse": int(found.sse),
                "part": found.part,
                "share": found.share,
                "clients": found.clients(spec.count, spec.slow_share),
                "backoff": spec.reconnect.mean_s,
            }
            for found in classes
        )
        row: Row = {
            "station": self.number[name],
            "first": first,
            "classes": len(classes),
            "deliver_work": self.work((name, "deliver"), spec.deliver),
            "connect_work": self.work((name, "connect"), spec.connect),
            "reconnect": self.delay((name, "reconnect"), spec.reconnect),
            "up": 1,
            "parked": -1,
            "restart": 0.0 if recovery is None else recovery.restart_s,
            "count": spec.count,
            "read": spec.slow_read_eps,
            "buffer": spec.buffer_events,
            "hold": spec.hold_s,
            "reconnect_max": spec.reconnect_max_s,
            "sse": int(spec.sse is not None),
            "sse_deliver_work": sse.get("sse-deliver", -1),
            "sse_connect_work": sse.get("sse-connect", -1),
            "sse_retry": 0.0 if spec.sse is None else spec.sse.retry_s,
        }
        return self._add("edges", self.edges, name, row)

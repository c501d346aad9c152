"""A store whose flushes become parts that are merged in the background, on one replica or several: ClickHouse's MergeTree."""

from __future__ import annotations

from collections import deque

from sentra_sim.engine.reference.hosts import Thread, Work
from sentra_sim.engine.reference.stores import StoreModel
from sentra_sim.engine.reference.transactions import when_done
from sentra_sim.engine.reference.world import Batch
from sentra_sim.engine.tallies import TIERS
from sentra_sim.scenario.schema import Merges


class ColumnarModel(StoreModel):
    """Polls go to the replicas in turn; each gathers, flushes and merges its own."""

    def start(self) -> None:
        """Starts all replicas that there may ever be; those in use get polls."""
        merges = self.spec.merges
        self.merge = None if merges is None else self.world.work(self.name, "merge", merges.demand)
        self.replicas = [Replica(self, merges) for _ in range(self.spec.most_replicas)]
        self.active, self.turn = self.spec.replicas, 0
        self.world.stores[self.name] = self

    def arm(self) -> None:
        """Has no timers."""

    def offer(self, poll: Batch) -> None:
        """Hands a poll to the replica whose turn it is."""
        replica = self.replicas[self.turn % self.active]
        self.turn += 1
        replica.gather(poll)

    def change(self, operation: str, value: float) -> None:
        """Sets how many replicas get polls; one that no longer does finishes what it has."""
        if operation == "store-replicas":
            self.active = int(value)

    def all_visible(self, polls: list[Batch]) -> None:
        """Hands on what a flush has made visible."""
        for poll in polls:
            self.hand_on(poll)
            self.reply(poll)

    def tallies(self) -> dict[str, float]:
        """Returns what the replicas have counted."""
        return {
            "inserts": sum(replica.inserts for replica in self.replicas),
            "parts": sum(float(replica.parts) for replica in self.replicas),
            "most_parts": max(float(replica.most_parts) for replica in self.replicas),
            "merges": sum(replica.merges for replica in self.replicas),
            "merged_rows": sum(replica.merged_rows for replica in self.replicas),
            "delayed_inserts": sum(replica.delayed for replica in self.replicas),
            "refused_inserts": sum(replica.refused for replica in self.replicas),
        }


class Replica:
    """One writer and some threads that merge."""

    def __init__(self, store: ColumnarModel, spec: Merges | None) -> None:
        self.store, self.spec, self.world = store, spec, store.world
        self.thread = store.thread()
        self.gathered: list[Batch] = []
        self.busy = False
        self.last_start_s: float | None = None
        self.tiers: list[deque[int]] = [deque() for _ in range(TIERS)]  # rows of the parts that are in no merge
        self.parts = self.most_parts = 0
        self.idle = deque(store.thread() for _ in range(spec.threads)) if spec is not None else deque[Thread]()
        self.inserts = self.merges = self.merged_rows = self.delayed = self.refused = 0.0

    def gather(self, poll: Batch) -> None:
        """Keeps a poll for the next flush."""
        self.gathered.append(poll)
        if not self.busy:
            self.busy = True
            self._wait()

    def _wait(self) -> None:
        now_s = self.world.env.now
        if self.last_start_s is None:
            self.last_start_s = now_s
        wait_s = self.last_start_s + self.store.spec.flush_s - now_s
        if wait_s > 0.0:
            self.world.after(wait_s, self._try)
        else:
            self._try()

    def _try(self) -> None:
        """Inserts what has gathered, later if there are many parts, and not now if there are too many."""
        spec = self.spec
        if spec is None or self.parts < spec.parts_to_delay:
            self._insert()
        elif self.parts < spec.parts_to_throw:
            self.delayed += 1.0
            over = self.parts - spec.parts_to_delay + 1
            delay_s = spec.max_delay_s * over / (spec.parts_to_throw - spec.parts_to_delay)
            self.world.after(max(spec.min_delay_s, delay_s), self._insert)
        else:
            self.refused += 1.0
            self.world.after(spec.retry_s, self._try)

    def _insert(self) -> None:
        self.last_start_s = self.world.env.now
        polls, self.gathered = self.gathered, []
        frames, events = sum(len(poll.frames) for poll in polls), sum(poll.events for poll in polls)
        when_done(self.thread.run(self.store.work, frames, events), self._inserted, polls, events)

    def _inserted(self, polls: list[Batch], rows: int) -> None:
        self.inserts += 1.0
        self.parts += 1
        self.most_parts = max(self.most_parts, self.parts)
        self.tiers[0].append(rows)
        self._start_merges()
        self.store.after_delay(self.store.all_visible, polls)
        if self.gathered:
            self._wait()
        else:
            self.busy = False

    def _start_merges(self) -> None:
        """Lets idle threads merge, the smallest parts first."""
        while self.idle and self.spec is not None and self.store.merge is not None:
            tier = next((at for at, parts in enumerate(self.tiers) if len(parts) >= self.spec.fan_in), None)
            if tier is None:
                return
            rows = sum(self.tiers[tier].popleft() for _ in range(self.spec.fan_in))
            self._merge(self.store.merge, self.idle.popleft(), tier, rows)

    def _merge(self, work: Work, thread: Thread, tier: int, rows: int) -> None:
        assert self.spec is not None
        when_done(thread.run(work, self.spec.fan_in, rows), self._merged, thread, tier, rows)

    def _merged(self, thread: Thread, tier: int, rows: int) -> None:
        assert self.spec is not None
        self.merges += 1.0
        self.merged_rows += float(rows)
        self.parts -= self.spec.fan_in - 1
        self.tiers[min(tier + 1, TIERS - 1)].append(rows)
        self.idle.append(thread)
        self._start_merges()

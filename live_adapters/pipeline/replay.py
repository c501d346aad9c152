"""What the edge has sent lately, kept by tenant within bounds of bytes and age, for subscribers that come back."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from live_adapters.pipeline.broadcast import only_after
from live_adapters.pipeline.position import Position, furthest, parse_offsets, within_replay
from live_adapters.pipeline.websocket import payload_of
from sentra_sim.units import NS_PER_S

REPLAY_S = 15.0
REPLAY_BYTES = 2 << 20  # a tenant


class Kept(NamedTuple):
    """A tenant's message of a poll, as a WebSocket frame, with the edge's offsets after the poll as text.

    Plain values only: thousands of these are alive, and the garbage collector need not look into them.
    """

    at_ns: int
    frame: bytes
    after: str


class Again(NamedTuple):
    """A message to send again, and the resumable id of who has got it."""

    message: bytes
    identity: str


class Gap(NamedTuple):
    """Of a tenant and a partition, the edge does not hold what lies from offset `above` up to `up_to`."""

    tenant: int
    partition: int
    above: int
    up_to: int


@dataclass
class _Shelf:
    """One tenant's messages, oldest first, and the offsets up to which older ones are gone."""

    gone: str
    kept: deque[Kept] = field(default_factory=deque)
    size_bytes: int = 0

    def trim(self, horizon_ns: int, max_bytes: int) -> None:
        """Lets go of what is too old or too much."""
        while self.kept and (self.size_bytes > max_bytes or self.kept[0].at_ns < horizon_ns):
            oldest = self.kept.popleft()
            self.size_bytes -= len(oldest.frame)
            self.gone = oldest.after


class Replay:
    """The buffer. `base` is the offsets (as text) below which this edge has never had anything."""

    def __init__(self, base: str = "", *, keep_s: float = REPLAY_S, tenant_bytes: int = REPLAY_BYTES) -> None:
        self._base = base
        self._keep_ns, self._tenant_bytes = round(keep_s * NS_PER_S), tenant_bytes
        self._shelves: dict[int, _Shelf] = {}

    @property
    def size_bytes(self) -> int:
        """Bytes of all messages held."""
        return sum(shelf.size_bytes for shelf in self._shelves.values())

    def add(self, frames: Mapping[int, bytes], after: str, now_ns: int) -> None:
        """Keeps the frames of a poll, by tenant; `after` is the edge's offsets then."""
        horizon_ns = now_ns - self._keep_ns
        for tenant, frame in frames.items():
            shelf = self._shelves.get(tenant)
            if shelf is None:
                shelf = self._shelves[tenant] = _Shelf(self._base)
            shelf.kept.append(Kept(now_ns, frame, after))
            shelf.size_bytes += len(frame)
            shelf.trim(horizon_ns, self._tenant_bytes)

    def trim(self, now_ns: int) -> None:
        """Lets go of what is too old, of tenants too that get nothing new."""
        for shelf in self._shelves.values():
            shelf.trim(now_ns - self._keep_ns, self._tenant_bytes)

    def gaps(self, tenants: Iterable[int] | None, since: Position) -> list[Gap]:
        """Returns what a subscriber at a position misses and the edge no longer holds; `tenants` None for all."""
        # Every group's first tenant stands for those of whom nothing was ever kept.
        wanted = tenants if tenants is not None else set(self._shelves) | since.tenants()
        found = []
        for tenant in sorted(wanted):
            shelf = self._shelves.get(tenant)
            gone = parse_offsets(self._base if shelf is None else shelf.gone)
            has = since.of(tenant)
            found += [Gap(tenant, p, has.get(p, 0), up_to) for p, up_to in gone.items() if has.get(p, 0) < up_to]
        return found

    def since(self, tenants: Iterable[int] | None, since: Position, now: str) -> list[Again]:
        """Returns the messages above a position without the pieces below it: a tenant's in order, one tenant after the other.

        Args:
            tenants: Who is asked for; None for all.
            since: Up to where the subscriber has everything.
            now: The edge's offsets, as text.
        """
        wanted = set(self._shelves) if tenants is None else set(self._shelves).intersection(tenants)
        again = []
        for tenant in sorted(wanted):
            has = since.of(tenant)
            for kept in self._shelves[tenant].kept:
                message = only_after(payload_of(kept.frame), has)
                if message:
                    own = furthest(parse_offsets(kept.after), has)
                    again.append(Again(message, within_replay(tenant, now, own, since)))
        return again

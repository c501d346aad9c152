"""What the edge has sent lately, kept by tenant within bounds of bytes and age, for subscribers that come back."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple

from live_adapters.pipeline.edge.broadcast import only_after
from live_adapters.pipeline.edge.position import Position, furthest, parse_offsets, within_replay
from live_adapters.pipeline.edge.websocket import payload_of
from sentra_sim.units import NS_PER_S

REPLAY_S = 15.0
REPLAY_BYTES = 2 << 20  # a tenant
ACCOUNT_POLLS = 64

_Poll = tuple[int, dict[int, bytes], str]  # when, ns; by tenant a WebSocket frame; the edge's offsets after it, as text


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


class Replay:
    """The buffer. `base` is the offsets (as text) below which this edge has never had anything.

    A poll costs one append; tenants are accounted for later, many polls at a time, so that a tenant may be over its bytes by
    that much for a while.
    """

    def __init__(self, base: str = "", *, keep_s: float = REPLAY_S, tenant_bytes: int = REPLAY_BYTES) -> None:
        self._base = base
        self._keep_ns, self._tenant_bytes = round(keep_s * NS_PER_S), tenant_bytes
        self._polls: deque[_Poll] = deque()
        self._uncounted: list[_Poll] = []  # of those, the ones that are not in `_bytes` yet
        self._bytes: dict[int, int] = {}  # by tenant
        self._trimmed = 0  # polls let go of since the start
        self._dropped: dict[int, int] = {}  # by tenant, of how many polls since the start its messages were dropped
        self._gone: dict[int, str] = {}  # by tenant, the offsets up to which messages are no longer held

    @property
    def size_bytes(self) -> int:
        """Bytes of all messages held."""
        self._account()
        return sum(self._bytes.values())

    def add(self, frames: dict[int, bytes], after: str, now_ns: int) -> None:
        """Keeps the frames of a poll, by tenant, and owns them from now on; `after` is the edge's offsets then."""
        poll = (now_ns, frames, after)
        self._polls.append(poll)
        self._uncounted.append(poll)
        if len(self._uncounted) >= ACCOUNT_POLLS:
            self._account()

    def trim(self, now_ns: int) -> None:
        """Lets go of what is too old; to be called about once a second."""
        self._account()
        horizon_ns = now_ns - self._keep_ns
        while self._polls and self._polls[0][0] < horizon_ns:
            _, frames, after = self._polls.popleft()
            self._trimmed += 1
            for tenant, frame in frames.items():
                self._bytes[tenant] -= len(frame)
                self._gone[tenant] = after

    def _account(self) -> None:
        sizes = self._bytes
        for _, frames, _ in self._uncounted:
            for tenant, frame in frames.items():
                sizes[tenant] = sizes.get(tenant, 0) + len(frame)
        self._uncounted.clear()
        for tenant in [tenant for tenant, size in sizes.items() if size > self._tenant_bytes]:
            self._drop_oldest(tenant)

    def _drop_oldest(self, tenant: int) -> None:
        first = max(0, self._dropped.get(tenant, 0) - self._trimmed)
        for number, (_, frames, after) in enumerate(islice(self._polls, first, None), first + 1):
            frame = frames.pop(tenant, None)
            if frame is not None:
                self._bytes[tenant] -= len(frame)
                self._gone[tenant] = after
                if self._bytes[tenant] <= self._tenant_bytes:
                    self._dropped[tenant] = self._trimmed + number
                    return

    def gaps(self, tenants: Iterable[int] | None, since: Position) -> list[Gap]:
        """Returns what a subscriber at a position misses and the edge no longer holds; `tenants` None for all."""
        self._account()
        # Every group's first tenant stands for those of whom nothing was ever kept.
        wanted = tenants if tenants is not None else set(self._bytes) | since.tenants()
        found = []
        for tenant in sorted(wanted):
            gone = parse_offsets(self._gone.get(tenant, self._base))
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
        self._account()
        wanted = set(self._bytes) if tenants is None else set(self._bytes).intersection(tenants)
        again = []
        for tenant in sorted(wanted):
            has = since.of(tenant)
            for _, frames, after in self._polls:
                message = only_after(payload_of(frames[tenant]), has) if tenant in frames else b""
                if message:
                    own = furthest(parse_offsets(after), has)
                    again.append(Again(message, within_replay(tenant, now, own, since)))
        return again

"""The checker beside a run: topic and subscriber feed followed as they grow, in memory that does not. No I/O."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from live_adapters.verify.replay import PartitionLog, per_frame, per_key, replay

MAX_WAITING = 200_000  # frames of a partition that the log holds and nobody got yet; beyond it the oldest are given up
NOWHERE = np.iinfo(np.int64).max

AUDITOR = "auditor"  # its process
AUDITED = np.dtype([("key", "<i8"), ("version", "<i8"), ("quantity", "<f8")])
AUDIT_KEYS = (AUDITOR, "keys", AUDITED)  # its hop log, written at the end

log = logging.getLogger("auditor")


@dataclass
class _Followed:
    """A partition as far as it was read."""

    next_offset: int = 0
    marks: dict[int, int] = field(default_factory=dict)  # by session, the highest sequence
    waiting: dict[int, int] = field(default_factory=dict)  # by frame, events that are in the log and were not delivered
    ahead: list[tuple[int, int, int]] = field(
        default_factory=list
    )  # delivered before they were read: frame, offset, rows


class Audit:
    """Takes records and deliveries in whatever order they come; the first offence is told at once, all are counted."""

    def __init__(self, tell: Callable[[str], None] = log.error) -> None:
        self.counters = dict.fromkeys(
            ("records", "taken", "repeated", "dead", "unread", "delivered", "offences", "given_up"), 0
        )
        self.first = ""
        self._tell = tell
        self._partitions: dict[int, _Followed] = {}
        self._last: dict[tuple[int, int], int] = {}  # by tenant and partition, the last outbox id
        self._versions: dict[int, int] = {}
        self._quantities: dict[int, float] = {}

    @property
    def undelivered(self) -> int:
        """Events of the log that must take effect and were not delivered yet."""
        return sum(sum(followed.waiting.values()) for followed in self._partitions.values())

    def read(self, part: PartitionLog) -> None:
        """Takes the next records of a partition."""
        followed = self._partitions.setdefault(part.partition, _Followed())
        self.counters["unread"] += max(0, part.first_offset - followed.next_offset)
        followed.next_offset = part.end_offset
        # The marks stand for all records before: one event each in front of these.
        before = np.zeros(len(followed.marks), dtype=part.events.dtype)
        before["session"], before["sequence"] = list(followed.marks), list(followed.marks.values())
        before["limit_price"] = 1.0
        events = np.concatenate([before, part.events])
        offsets = np.concatenate([np.full(len(before), -1), part.offsets])
        played = replay(
            PartitionLog(part.partition, 0, part.end_offset, True, events, offsets, part.unreadable), NOWHERE
        )
        played.taken[: len(before)] = False
        for session in np.unique(part.events["session"]).tolist():
            highest = int(part.events["sequence"][part.events["session"] == session].max())
            followed.marks[session] = max(highest, followed.marks.get(session, 0))
        keys, versions, quantities = per_key(played)
        for key, version, quantity in zip(keys.tolist(), versions.tolist(), quantities.tolist(), strict=True):
            self._versions[key] = self._versions.get(key, 0) + version
            self._quantities[key] = self._quantities.get(key, 0.0) + quantity
        frames = per_frame(played)
        for frame, rows in zip(frames["frame"].tolist(), frames["rows"].tolist(), strict=True):
            if rows:
                followed.waiting[frame] = followed.waiting.get(frame, 0) + rows
        self.counters["records"] += len(part.events) + len(part.unreadable)
        self.counters["taken"] += int(played.taken.sum())
        self.counters["repeated"] += int(played.refused[len(before) :].sum())
        self.counters["dead"] += len(played.dead_offsets)
        ahead, followed.ahead = followed.ahead, []
        for delivery in ahead:
            self._deliver(part.partition, followed, *delivery)
        while len(followed.waiting) > MAX_WAITING:
            self.counters["given_up"] += followed.waiting.pop(next(iter(followed.waiting)))

    def deliver(self, tenant: int, shares: NDArray[np.void]) -> None:
        """Takes one message of the subscriber feed: its shares, of broadcast.SHARE."""
        columns = (shares[name].tolist() for name in ("frame", "partition", "next_offset", "rows"))
        for frame, partition, offset, rows in zip(*columns, strict=True):
            self.counters["delivered"] += rows
            if offset <= self._last.get((tenant, partition), -1):
                self._offence(f"tenant {tenant} got partition {partition}, offset {offset - 1} (frame {frame}) again")
                continue
            self._last[tenant, partition] = offset
            self._deliver(partition, self._partitions.setdefault(partition, _Followed()), frame, offset, rows)

    def keys(self) -> NDArray[np.void]:
        """Returns what each key must hold of all that was read, shape (keys,) of AUDITED."""
        rows = [(key, version, self._quantities[key]) for key, version in self._versions.items()]
        return np.array(rows, dtype=AUDITED)

    def report(self) -> dict[str, int]:
        """Returns the counters."""
        return self.counters | {"undelivered": self.undelivered}

    def _deliver(self, partition: int, followed: _Followed, frame: int, offset: int, rows: int) -> None:
        if offset > followed.next_offset:
            followed.ahead.append((frame, offset, rows))
            return
        left = followed.waiting.get(frame, 0) - rows
        if left < 0:
            self._offence(
                f"{-left} events of frame {frame} delivered that partition {partition} does not hold, up to {offset - 1}"
            )
        if left > 0:
            followed.waiting[frame] = left
        else:
            followed.waiting.pop(frame, None)

    def _offence(self, what: str) -> None:
        self.counters["offences"] += 1
        if not self.first:
            self.first = what
            self._tell(f"first offence: {what}")

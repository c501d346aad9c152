"""The log of a partition played again: which events must have taken effect, and what each key and frame must hold. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from live_adapters.pipeline.consumer.poll import LIMIT

DENSE_KEYS = 1 << 22  # keys below it are counted in an array, others are sorted
HASH_SEED = 0

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class PartitionLog:
    """The readable records of a partition, shape (records,) of poll.EVENT with their offsets; and the unreadable ones' offsets.

    `first_offset` and `end_offset` bound what was read; `whole`: nothing of it is gone or was left unread.
    """

    partition: int
    first_offset: int
    end_offset: int
    whole: bool
    events: NDArray[np.void]
    offsets: NDArray[np.int64]
    unreadable: NDArray[np.int64]


@dataclass(frozen=True)
class Replay:
    """What became of each record, shape (records,): `taken` takes effect, `refused` was known, `dead` cannot be priced."""

    log: PartitionLog
    taken: Mask
    refused: Mask
    dead: Mask

    @property
    def dead_offsets(self) -> NDArray[np.int64]:
        """The offsets of all records that must be dead letters."""
        return np.sort(np.concatenate([self.log.offsets[self.dead], self.log.unreadable]))


def replay(log: PartitionLog, next_offset: int) -> Replay:
    """Plays the records below `next_offset` again: a session's event counts when its sequence is above all before it.

    Written apart from the worker's own code, which it is to check.
    """
    events = log.events
    below = log.offsets < next_offset
    refused = np.zeros(len(events), dtype=np.bool_)
    for session in np.unique(events["session"]):
        mine = np.flatnonzero(events["session"] == session)
        sequence = events["sequence"][mine]
        highest = np.maximum.accumulate(sequence)
        refused[mine[1:]] = sequence[1:] <= highest[:-1]
        refused[mine[:1]] = sequence[:1] == 0
    dead = _unpriceable(events) & ~refused
    return Replay(log, ~refused & ~dead & below, refused & below, dead & below)


def _unpriceable(events: NDArray[np.void]) -> Mask:
    quantity, price = events["quantity"], events["limit_price"]
    return np.asarray(~((np.abs(quantity) <= LIMIT) & (price >= 1.0 / LIMIT) & (price <= LIMIT)))


def per_key(played: Replay) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Returns the keys with effects, the number of them (the expected version) and the sum of their quantities."""
    events = played.log.events[played.taken]
    keys, quantity = events["key"].astype(np.int64), events["quantity"]
    if len(keys) and int(keys.max()) >= DENSE_KEYS:
        found, place, counts = np.unique(keys, return_inverse=True, return_counts=True)
        return found, counts.astype(np.int64), np.bincount(place, quantity, len(found)).astype(np.float64)
    counts = np.bincount(keys)
    found = np.flatnonzero(counts)
    sums = np.bincount(keys, quantity) if len(keys) else np.zeros(0)
    return found, counts[found].astype(np.int64), sums[found].astype(np.float64)


def per_frame(played: Replay) -> dict[str, NDArray[Any]]:
    """Returns columns by frame, ordered by frame: first and last offset, events, repeated, dead, and `rows` that take effect."""
    frame, offsets = played.log.events["frame"], played.log.offsets
    starts = np.concatenate([[0], np.flatnonzero(np.diff(frame)) + 1])[: len(frame)]
    ids, place = np.unique(frame[starts], return_inverse=True)

    def total(mask: Mask) -> NDArray[np.int64]:
        sums = np.add.reduceat(mask, starts, dtype=np.int64) if len(starts) else np.zeros(0, dtype=np.int64)
        return np.bincount(place, sums, len(ids)).astype(np.int64)

    first = np.full(len(ids), np.iinfo(np.int64).max)
    last = np.full(len(ids), -1)
    np.minimum.at(first, place, offsets[starts])
    np.maximum.at(last, place, offsets[np.append(starts[1:], len(frame))[: len(starts)] - 1])
    return {
        "frame": ids.astype(np.int64),
        "first_offset": first,
        "last_offset": last,
        "events": total(np.ones(len(frame), dtype=np.bool_)),
        "repeated": total(played.refused),
        "dead": total(played.dead),
        "rows": total(played.taken),
    }


def window_of(keys: NDArray[np.int64], wanted: dict[int, int]) -> slice | None:
    """Finds neighbours in `keys` that hold every wanted key as often as wanted and no other: a batch that came twice, or never.

    Every key has a random weight; the sums of all windows of the right length are compared in one step.
    """
    length = sum(wanted.values())
    if not 0 < length <= len(keys):
        return None
    rng = np.random.default_rng(HASH_SEED)
    distinct, place = np.unique(keys, return_inverse=True)
    weights = rng.integers(0, 1 << 63, len(distinct), dtype=np.uint64)
    at = np.searchsorted(distinct, sorted(wanted))
    if (at >= len(distinct)).any() or (distinct[at] != sorted(wanted)).any():
        return None
    sums = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(weights[place], dtype=np.uint64)])
    target = (weights[at] * np.array([wanted[key] for key in sorted(wanted)], dtype=np.uint64)).sum(dtype=np.uint64)
    hits = np.flatnonzero(sums[length:] - sums[:-length] == target)
    return slice(int(hits[0]), int(hits[0]) + length) if len(hits) else None

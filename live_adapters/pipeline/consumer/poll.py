"""One poll as arrays: decode, refuse duplicates and bad events, cut into frames, sum up per key. No I/O.

A *piece* is what one frame contributes to one poll: a frame that the fetch cuts in two makes a piece in each of two polls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from live_adapters.pipeline.codec import EventArray, decode_events
from live_adapters.pipeline.hoplog import RELEASED

# An event as a worker needs it, after decoding.
EVENT = np.dtype(
    [
        ("frame", "<i8"),
        ("sequence", "<u8"),
        ("session", "<u4"),
        ("key", "<u4"),
        ("tenant", "<u4"),
        ("quantity", "<f8"),
        ("limit_price", "<f8"),
    ]
)
# `events` counts what came in, `duplicates` what the high-water mark refused, `rows` what takes effect.
PIECE = np.dtype(
    [
        ("frame", "<i8"),
        ("partition", "<i4"),
        ("next_offset", "<i8"),
        ("events", "<i4"),
        ("duplicates", "<i4"),
        ("rows", "<i4"),
    ]
)
ROW = np.dtype([("key", "<u4"), ("tenant", "<u4"), ("quantity", "<f8"), ("price", "<f8")])  # what goes downstream
SESSION = np.dtype([("session", "<u4"), ("sequence", "<u8")])
LIMIT = 1e9  # of quantities and prices; beyond it the valuation would overflow
MAX_SESSIONS = 1024  # per partition; the session heard of longest ago is forgotten first

Sessions = dict[int, int]  # producer session → last sequence taken; in order of last use
Originals = dict[int, tuple[bytes | None, bytes]]  # offset → a record's key and value as they lie in the log


@dataclass(frozen=True)
class Batch:
    """Consecutive records of a partition: their values one after another; `lengths` only where they differ.

    `originals` reads the batch again, record by record, for the few that are put aside.
    """

    partition: int
    first_offset: int
    next_offset: int
    count: int
    block: bytes
    lengths: tuple[int, ...] | None = None
    originals: Callable[[], Originals] | None = field(default=None, compare=False, repr=False)


class Standing(Protocol):
    """Where a partition stands before a poll."""

    next_offset: int
    sessions: Sessions


@dataclass(frozen=True)
class DeadLetter:
    """A record that takes no effect, and why; key and value are those of the log."""

    partition: int
    offset: int
    reason: str
    value: bytes
    key: bytes | None = None


@dataclass(frozen=True)
class Part:
    """A partition's share of a poll: its offsets, what was refused, and its slice of `Poll.events`."""

    partition: int
    old_offset: int
    next_offset: int
    duplicates: int
    dead: int
    sessions: Sessions
    pieces: slice
    rows: slice


@dataclass(frozen=True)
class Poll:
    """A poll ready for pricing. `events` holds what takes effect, in order, shape (rows,) of EVENT; `pieces` of PIECE."""

    parts: tuple[Part, ...]
    pieces: NDArray[np.void]
    events: NDArray[np.void]
    dead: tuple[DeadLetter, ...]

    @property
    def received(self) -> int:
        """Events that came in, duplicates included."""
        return int(self.pieces["events"].sum())


@dataclass(frozen=True)
class _Taken:
    """Decoded events with their offsets and partitions, each of shape (events,)."""

    events: NDArray[np.void]
    offsets: NDArray[np.int64]
    partitions: NDArray[np.int64]


@dataclass(frozen=True)
class Effects:
    """What a poll changes per key, sorted by (partition, key), all of shape (keys,); `rows` is of ROW, shape (rows,).

    `events`, `quantity` and `notional` are added to the position, `price` replaces the last one.
    """

    key: NDArray[np.uint32]
    partition: NDArray[np.int64]
    tenant: NDArray[np.uint32]
    events: NDArray[np.int64]
    quantity: NDArray[np.float64]
    notional: NDArray[np.float64]
    price: NDArray[np.float64]
    rows: NDArray[np.void]


def assemble(batches: Sequence[Batch], known: Mapping[int, Standing]) -> Poll:
    """Makes a poll of the batches fetched, given where each of their partitions stands (which it does not change)."""
    ordered = sorted(batches, key=lambda batch: batch.partition)  # stable: a partition's batches stay in order
    taken, letters = _decode_all(ordered)
    poll = _cut({batch.partition: batch.next_offset for batch in ordered}, taken, letters, known)
    return replace(poll, dead=_with_originals(poll.dead, ordered)) if poll.dead else poll


def released(poll: Poll, canary: NDArray[np.bool_]) -> NDArray[np.void]:
    """Returns what a canary had a part in, shape (pieces,) of hoplog.RELEASED; `canary` tells it of each of the poll's events."""
    before = np.concatenate([[0], np.cumsum(canary)])
    ends = np.cumsum(poll.pieces["rows"])
    rows = np.empty(len(poll.pieces), dtype=RELEASED)
    rows["frame"], rows["events"] = poll.pieces["frame"], poll.pieces["rows"]
    rows["canary"] = before[ends] - before[ends - poll.pieces["rows"]]
    return rows[rows["canary"] > 0]


def sum_effects(poll: Poll, prices: NDArray[np.float64]) -> Effects:
    """Sums the priced events up per key; of a key's prices the last one counts."""
    events = poll.events
    partition = np.repeat([part.partition for part in poll.parts], [p.rows.stop - p.rows.start for p in poll.parts])
    owner = partition.astype(np.int64) << 32 | events["key"]
    unique, inverse, counts = np.unique(owner, return_inverse=True, return_counts=True)
    last = np.empty(len(unique), dtype=np.int64)
    last[inverse] = np.arange(len(events))  # of repeated places the last assignment stays
    rows = np.empty(len(events), dtype=ROW)
    rows["key"], rows["tenant"], rows["quantity"], rows["price"] = (
        events["key"],
        events["tenant"],
        events["quantity"],
        prices,
    )
    return Effects(
        key=(unique & 0xFFFFFFFF).astype(np.uint32),
        partition=unique >> 32,
        tenant=events["tenant"][last],
        events=counts,
        quantity=np.bincount(inverse, events["quantity"], len(unique)).astype(np.float64),
        notional=np.bincount(inverse, events["quantity"] * prices, len(unique)).astype(np.float64),
        price=prices[last],
        rows=rows,
    )


def duplicates_of(session: NDArray[np.uint32], sequence: NDArray[np.uint64], sessions: Sessions) -> NDArray[np.bool_]:
    """Tells which events of a partition, in order, a session's high-water mark refuses; moves the marks in `sessions`."""
    refused = np.zeros(len(session), dtype=np.bool_)
    for number in _distinct(session):
        mine = slice(None) if number is None else session == np.uint32(number)
        own = int(session[0]) if number is None else number
        taken = sequence[mine]
        mark = np.uint64(sessions.pop(own, 0))
        highest = np.maximum.accumulate(np.concatenate([[mark], taken]))
        refused[mine] = taken <= highest[:-1]
        sessions[own] = int(highest[-1])
    while len(sessions) > MAX_SESSIONS:
        del sessions[next(iter(sessions))]
    return refused


def pack_sessions(sessions: Sessions) -> bytes:
    """Packs the marks of a partition for its progress row, in order of last use."""
    return np.array(list(sessions.items()), dtype=SESSION).tobytes() if sessions else b""


def unpack_sessions(packed: bytes) -> Sessions:
    """Reads back what `pack_sessions` wrote."""
    return {int(session): int(sequence) for session, sequence in np.frombuffer(packed, dtype=SESSION)}


def _distinct(session: NDArray[np.uint32]) -> Sequence[int | None]:
    """Returns the sessions in an array; [None] stands for "all of them the same one", [] for no events."""
    if len(session) == 0:
        return []
    if bool((session == session[0]).all()):
        return [None]
    return [int(number) for number in np.unique(session)]


def _decode_all(batches: Sequence[Batch]) -> tuple[_Taken, list[DeadLetter]]:
    counts = [batch.count for batch in batches]
    total = sum(counts)
    # A batch's offsets follow one another: first offset plus place in the batch.
    shift = np.array([batch.first_offset for batch in batches], dtype=np.int64) - np.cumsum([0, *counts[:-1]])
    offsets = np.repeat(shift, counts) + np.arange(total)
    partitions = np.repeat([batch.partition for batch in batches], counts)
    try:
        if any(batch.lengths is not None for batch in batches):
            raise ValueError("records of different lengths")
        events = _columns(decode_events(b"".join([batch.block for batch in batches]), total))
    except ValueError:
        return _decode_each(batches, _Taken(np.zeros(total, dtype=EVENT), offsets, partitions))
    return _Taken(events, offsets, partitions), []


def _decode_each(batches: Sequence[Batch], taken: _Taken) -> tuple[_Taken, list[DeadLetter]]:
    """Decodes record by record; those that cannot be read are left out of what is taken."""
    readable = np.ones(len(taken.events), dtype=np.bool_)
    letters: list[DeadLetter] = []
    for place, value in enumerate(value for batch in batches for value in _values(batch)):
        try:
            taken.events[place] = _columns(decode_events(value, 1))[0]
        except ValueError as error:
            readable[place] = False
            letters.append(DeadLetter(int(taken.partitions[place]), int(taken.offsets[place]), str(error), value))
    return _Taken(taken.events[readable], taken.offsets[readable], taken.partitions[readable]), letters


def _values(batch: Batch) -> list[bytes]:
    lengths = batch.lengths or (len(batch.block) // batch.count,) * batch.count
    ends = np.cumsum(lengths).tolist()
    return [batch.block[end - length : end] for end, length in zip(ends, lengths, strict=True)]


def _columns(events: EventArray) -> NDArray[np.void]:
    columns = np.empty(len(events), dtype=EVENT)
    for name in EVENT.names or ():
        columns[name] = events[name]
    return columns


def _unpriceable(events: NDArray[np.void]) -> NDArray[np.bool_]:
    price = events["limit_price"]
    # Written so that NaN, which compares false, is unpriceable.
    return np.asarray(~((np.abs(events["quantity"]) <= LIMIT) & (price >= 1.0 / LIMIT) & (price <= LIMIT)))


def _bury(taken: _Taken, bad: NDArray[np.bool_]) -> list[DeadLetter]:
    reason = f"quantity must be within ±{LIMIT:g} and limit_price from {1 / LIMIT:g} to {LIMIT:g}, got {{}} and {{}}"
    return [
        DeadLetter(int(p), int(o), reason.format(event["quantity"], event["limit_price"]), event.tobytes())
        for event, o, p in zip(taken.events[bad], taken.offsets[bad], taken.partitions[bad], strict=True)
    ]


def _with_originals(letters: Sequence[DeadLetter], batches: Sequence[Batch]) -> tuple[DeadLetter, ...]:
    """Gives dead letters the key and value that the log has; only batches that hold one are read again."""
    found: dict[tuple[int, int], tuple[bytes | None, bytes]] = {}
    for batch in batches:
        mine = [
            x for x in letters if x.partition == batch.partition and batch.first_offset <= x.offset < batch.next_offset
        ]
        if mine and batch.originals is not None:
            originals = batch.originals()
            found |= {(letter.partition, letter.offset): originals[letter.offset] for letter in mine}
    originals_of = [(letter, found.get((letter.partition, letter.offset))) for letter in letters]
    return tuple(replace(x, key=o[0], value=o[1]) if o is not None else x for x, o in originals_of)


def _cut(ends: dict[int, int], taken: _Taken, letters: list[DeadLetter], known: Mapping[int, Standing]) -> Poll:
    """Refuses duplicates and bad events, cuts what is left by partition and frame; `ends` holds partitions' next offsets."""
    events = taken.events
    refused = np.zeros(len(events), dtype=np.bool_)
    bounds = np.searchsorted(taken.partitions, [[number, number + 1] for number in ends]).tolist()
    marks = {number: dict(known[number].sessions) for number in ends}
    for number, (start, stop) in zip(ends, bounds, strict=True):
        own = events[start:stop]
        refused[start:stop] = duplicates_of(own["session"], own["sequence"], marks[number])
    bad = _unpriceable(events) & ~refused
    if bad.any():
        letters = letters + _bury(taken, bad)
    dropped = refused | bad
    pieces = _pieces(taken)
    if len(pieces):
        starts = np.cumsum(pieces["events"]) - pieces["events"]
        pieces["duplicates"] = np.add.reduceat(refused, starts, dtype=np.int32)
        pieces["rows"] = pieces["events"] - np.add.reduceat(dropped, starts, dtype=np.int32)
    kept = np.concatenate([[0], np.cumsum(~dropped)])
    parts = []
    for (number, following), (start, stop) in zip(ends.items(), bounds, strict=True):
        first, last = np.searchsorted(pieces["partition"], [number, number + 1]).tolist()
        part = Part(
            partition=number,
            old_offset=known[number].next_offset,
            next_offset=following,
            duplicates=int(refused[start:stop].sum()),
            dead=sum(letter.partition == number for letter in letters),
            sessions=marks[number],
            pieces=slice(first, last),
            rows=slice(int(kept[start]), int(kept[stop])),
        )
        parts.append(part)
    return Poll(tuple(parts), pieces, events[~dropped] if dropped.any() else events, tuple(letters))


def _pieces(taken: _Taken) -> NDArray[np.void]:
    events, offsets, partitions = taken.events, taken.offsets, taken.partitions
    frame = events["frame"]
    changes = np.flatnonzero((frame[1:] != frame[:-1]) | (partitions[1:] != partitions[:-1])) + 1
    starts = np.concatenate([[0], changes]) if len(events) else changes
    ends = np.append(starts[1:], len(events))[: len(starts)]
    pieces = np.zeros(len(starts), dtype=PIECE)
    pieces["frame"], pieces["partition"] = frame[starts], partitions[starts]
    pieces["next_offset"], pieces["events"] = offsets[ends - 1] + 1, ends - starts
    return pieces

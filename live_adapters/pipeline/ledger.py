"""The worker's side of PostgreSQL: ownership of partitions, and the one statement that commits a poll."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import numpy as np
from numpy.typing import NDArray

from live_adapters.pipeline.packed import use_packed_arrays
from live_adapters.pipeline.poll import PIECE, Batch, Effects, Part, Poll, Sessions, pack_sessions, unpack_sessions
from sentra_sim.errors import PlantError

COMMIT_SQL = Path(__file__).with_name("commit.sql")
NOT_OWNER = "SN001"  # raised by require_owner in schema.sql
CONNECT_S = 10.0
# Planning the commit costs more than running it: one plan for all polls. It cannot know how few keys a poll has, and would
# join them by reading the whole table of positions.
SETTINGS = {
    "application_name": "sentra",
    "plan_cache_mode": "force_generic_plan",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}

CLAIM_SQL = """
INSERT INTO progress AS g (part, first_offset, next_offset, owner_epoch)
SELECT part, start, start, 1 FROM unnest($1::integer[], $2::bigint[]) AS i (part, start)
ON CONFLICT (part) DO UPDATE SET owner_epoch = g.owner_epoch + 1
RETURNING part, next_offset, owner_epoch, sessions
"""
OUTBOX_SQL = """
SELECT next_offset, frames, payload FROM outbox WHERE part = $1 AND next_offset > $2 ORDER BY next_offset LIMIT $3
"""
TRIM_SQL = """
DELETE FROM outbox WHERE (part, next_offset) IN (
    SELECT o.part, o.next_offset FROM unnest($1::integer[], $2::bigint[]) AS c (part, confirmed)
    JOIN outbox AS o ON o.part = c.part AND o.next_offset <= c.confirmed LIMIT $3)
"""
STATE_SQL = "SELECT key, version, quantity, price FROM positions WHERE part = $1 ORDER BY key"
WRITTEN = np.dtype([("key", ">i8"), ("version", ">i8"), ("quantity", ">f8")])


class ZombieError(PlantError):
    """Another worker owns a partition of this one by now; nothing of the poll was written."""

    exit_code = 4


@dataclass
class Ownership:
    """What a worker knows of a partition it owns: where it stands, under which epoch, and its sessions' marks."""

    next_offset: int
    epoch: int
    sessions: Sessions


class Ledger:
    """One connection to PostgreSQL with the commit prepared."""

    def __init__(self, connection: Any, commit: Any) -> None:
        self._connection = connection
        self._commit = commit
        self.owned: dict[int, Ownership] = {}

    async def claim(self, starts: dict[int, int]) -> None:
        """Takes the partitions over, raising their epochs: whoever owned one before can no longer commit.

        Args:
            starts: By partition the offset to start from when it has no progress yet.
        """
        rows = await self._connection.fetch(CLAIM_SQL, list(starts), list(starts.values()))
        for row in rows:
            marks = unpack_sessions(row["sessions"])
            self.owned[row["part"]] = Ownership(row["next_offset"], row["owner_epoch"], marks)

    def takes(self, batch: Batch) -> bool:
        """Tells whether a batch is of a partition owned and not yet in effect: a rebalance may bring one again."""
        own = self.owned.get(batch.partition)
        return own is not None and batch.first_offset >= own.next_offset

    def release(self, partitions: Iterable[int]) -> None:
        """Forgets partitions that went to another worker."""
        for partition in partitions:
            self.owned.pop(partition, None)

    def offsets(self) -> dict[int, int]:
        """Returns where each partition owned stands."""
        return {partition: own.next_offset for partition, own in self.owned.items()}

    async def commit(self, poll: Poll, effects: Effects) -> NDArray[np.void]:
        """Commits a poll in one transaction and returns each key's new state, shape (keys,) of WRITTEN in the order of `effects`.

        Raises:
            ZombieError: another worker owns one of the partitions.
            PlantError: PostgreSQL refused the poll or went away; whether it was committed, its progress tells.
        """
        try:
            row = await self._commit.fetchrow(*_arguments(poll, effects, self.owned))
        except asyncpg.PostgresError as error:
            if error.sqlstate == NOT_OWNER:
                raise ZombieError(
                    f"postgres: this worker must own its partitions, got {error}; another has taken over"
                ) from None
            raise PlantError(f"postgres: must commit a poll, got {error}; see its log") from error
        except (OSError, asyncpg.InterfaceError) as error:
            raise PlantError(f"postgres: must answer, got {error!r}; see `sentra status`") from error
        for part in poll.parts:
            own = self.owned[part.partition]
            own.next_offset, own.sessions = part.next_offset, part.sessions
        return _in_order(row["written"], effects.key)

    async def state_of(self, partition: int) -> list[tuple[int, int, float, float]]:
        """Returns key, version, quantity and price of every key of a partition."""
        return [tuple(row) for row in await self._connection.fetch(STATE_SQL, partition)]

    async def close(self) -> None:
        """Closes the connection."""
        await self._connection.close()


class OutboxTable:
    """A second connection, for what reads and trims the outbox beside the commits."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._lock = asyncio.Lock()  # a connection does one thing at a time

    async def after(self, partition: int, offset: int, limit: int) -> list[tuple[int, bytes, bytes]]:
        """Returns a partition's next outbox rows above an offset: their next offset, pieces and rows as bytes."""
        async with self._lock:
            return [tuple(row) for row in await self._connection.fetch(OUTBOX_SQL, partition, offset, limit)]

    async def trim(self, confirmed: dict[int, int], limit: int) -> int:
        """Deletes at most `limit` rows up to the offsets that every downstream has confirmed; returns how many."""
        async with self._lock:
            status: str = await self._connection.execute(TRIM_SQL, list(confirmed), list(confirmed.values()), limit)
        return int(status.rsplit(maxsplit=1)[-1])

    async def close(self) -> None:
        """Closes the connection."""
        await self._connection.close()


async def connect(dsn: str) -> Any:
    """Opens a connection to PostgreSQL.

    Raises:
        PlantError: it cannot be reached.
    """
    try:
        connection = await asyncpg.connect(dsn, timeout=CONNECT_S, server_settings=SETTINGS)
    except (OSError, asyncpg.PostgresError) as error:
        raise PlantError(f"postgres: must accept a connection, got {error!r}; see `sentra status`") from None
    use_packed_arrays(connection)
    return connection


async def open_ledger(dsn: str) -> Ledger:
    """Connects and prepares; the tables must be there (`storage.reset_stores`).

    Raises:
        PlantError: PostgreSQL cannot be reached or lacks the tables.
    """
    connection = await connect(dsn)
    try:
        return Ledger(connection, await connection.prepare(COMMIT_SQL.read_text(encoding="utf-8")))
    except asyncpg.PostgresError as error:
        await connection.close()
        raise PlantError(f"postgres: must hold the pipeline's tables, got {error}; call storage.reset_stores") from None


def _arguments(poll: Poll, effects: Effects, owned: dict[int, Ownership]) -> tuple[Any, ...]:
    parts, dead = poll.parts, poll.dead
    return (
        [part.partition for part in parts],
        [part.old_offset for part in parts],
        [part.next_offset for part in parts],
        [owned[part.partition].epoch for part in parts],
        [pack_sessions(part.sessions) for part in parts],
        [part.duplicates for part in parts],
        [part.dead for part in parts],
        effects.key,
        effects.partition,
        effects.tenant,
        effects.events,
        effects.quantity,
        effects.notional,
        effects.price,
        [outbox_pieces(poll, part) for part in parts],
        [effects.rows[part.rows].tobytes() for part in parts],
        [letter.partition for letter in dead],
        [letter.offset for letter in dead],
        [letter.reason for letter in dead],
        [letter.value for letter in dead],
    )


def outbox_pieces(poll: Poll, part: Part) -> bytes:
    """Returns a partition's pieces, those with rows, as bytes of PIECE."""
    pieces = poll.pieces[part.pieces]
    return pieces[pieces["rows"] > 0].astype(PIECE, copy=False).tobytes()


def _in_order(packed: bytes | None, keys: NDArray[np.uint32]) -> NDArray[np.void]:
    written = np.frombuffer(packed or b"", dtype=WRITTEN)
    order = np.argsort(written["key"])
    return written[order[np.searchsorted(written["key"], keys, sorter=order)]]

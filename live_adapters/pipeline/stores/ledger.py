"""The worker's side of PostgreSQL: ownership of partitions, and the one statement that commits a poll."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import numpy as np
from numpy.typing import NDArray

from live_adapters.pipeline.consumer.poll import (
    PIECE,
    Batch,
    Effects,
    Part,
    Poll,
    Sessions,
    pack_sessions,
    unpack_sessions,
)
from live_adapters.pipeline.stores.packed import use_packed_arrays
from live_adapters.pipeline.stores.retry import StoreAwayError
from sentra_sim.errors import PlantError

COMMIT_SQL = Path(__file__).with_name("commit.sql")
NOT_OWNER = "SN001"  # raised by require_owner in schema.sql
CONNECT_S = 10.0
COMMIT_S = 10.0  # without an answer for so long, PostgreSQL counts as away
# Whatever tells of the server or the connection, not of the statement.
AWAY = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
)
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
RESUME_SQL = """
SELECT g.part, g.next_offset, g.sessions FROM progress AS g
JOIN unnest($1::integer[], $2::bigint[]) AS i (part, owner_epoch) USING (part, owner_epoch)
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


class OutOfStepError(StoreAwayError):
    """Progress is not where this worker left it: `Ledger.resume` tells whether another owns it or PostgreSQL lost its end."""


@dataclass
class Ownership:
    """What a worker knows of a partition it owns: where it stands, under which epoch, and its sessions' marks."""

    next_offset: int
    epoch: int
    sessions: Sessions


class Ledger:
    """One connection to PostgreSQL with the commit prepared, and one beside it for takeovers, during which commits go on."""

    def __init__(self, dsn: str, connection: Any, commit: Any) -> None:
        self._dsn = dsn
        self._connection = connection
        self._commit = commit
        self._beside = SideConnection(dsn)
        self.owned: dict[int, Ownership] = {}

    async def claim(self, starts: dict[int, int]) -> None:
        """Takes the partitions over, raising their epochs: whoever owned one before can no longer commit.

        Args:
            starts: By partition the offset to start from when it has no progress yet.

        Raises:
            StoreAwayError: PostgreSQL went away; claiming again only raises the epochs once more.
        """
        for row in await self._beside.fetch_flushed(CLAIM_SQL, list(starts), list(starts.values())):
            marks = unpack_sessions(row["sessions"])
            self.owned[row["part"]] = Ownership(row["next_offset"], row["owner_epoch"], marks)

    async def resume(self) -> None:
        """Reconnects and reads the progress of the partitions owned again: it tells whether an interrupted commit took effect.

        Progress may even lie behind what was committed: with `synchronous_commit` off, a server that is killed forgets its
        last fraction of a second. The log still has those events, and they take effect again in the same way.

        Raises:
            ZombieError: another worker owns one of the partitions.
            StoreAwayError: PostgreSQL cannot be reached.
        """
        epochs = {partition: own.epoch for partition, own in self.owned.items()}
        self._connection.terminate()
        with away_as_error():
            await self._connected()
            rows = await self._connection.fetch(RESUME_SQL, list(epochs), list(epochs.values()), timeout=COMMIT_S)
        if len(rows) < len(epochs):
            lost = sorted(epochs.keys() - {row["part"] for row in rows})
            raise ZombieError(f"postgres: this worker must own its partitions, got {lost} owned by another; it ends")
        for row in rows:
            own = self.owned[row["part"]]
            own.next_offset, own.sessions = row["next_offset"], unpack_sessions(row["sessions"])

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
            OutOfStepError: a partition's progress or epoch is not what this worker knows; nothing was written.
            StoreAwayError: PostgreSQL went away; `resume` tells whether the poll was committed.
            PlantError: PostgreSQL refused the poll.
        """
        try:
            with away_as_error():
                row = await self._commit.fetchrow(*_arguments(poll, effects, self.owned), timeout=COMMIT_S)
        except asyncpg.PostgresError as error:
            if error.sqlstate == NOT_OWNER:
                raise OutOfStepError(f"postgres: progress must be where this worker left it, got {error}") from None
            raise PlantError(f"postgres: must commit a poll, got {error}; see its log") from error
        for part in poll.parts:
            own = self.owned[part.partition]
            own.next_offset, own.sessions = part.next_offset, part.sessions
        return _in_order(row["written"], effects.key)

    async def state_of(self, partition: int) -> list[tuple[int, int, float, float]]:
        """Returns key, version, quantity and price of every key of a partition.

        Raises:
            StoreAwayError: PostgreSQL went away.
        """
        return [tuple(row) for row in await self._beside.fetch(STATE_SQL, partition)]

    async def close(self) -> None:
        """Closes the connections."""
        await self._beside.close()
        await close(self._connection)

    async def _connected(self) -> None:
        if self._connection.is_closed():
            self._connection, self._commit = await _connect_prepared(self._dsn)


class SideConnection:
    """A second connection for what happens beside the commits, one thing at a time; opened anew when it was lost."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: Any = None
        self._lock = asyncio.Lock()

    async def fetch(self, sql: str, *arguments: Any) -> list[Any]:
        """Returns the rows of a statement; raises StoreAwayError when PostgreSQL is away."""
        async with self._open() as connection:
            return list(await connection.fetch(sql, *arguments, timeout=COMMIT_S))

    async def fetch_flushed(self, sql: str, *arguments: Any) -> list[Any]:
        """Returns the rows of a statement once it is on disk: a server that crashes forgets commits it has not flushed."""
        async with self._open() as connection, connection.transaction():
            await connection.execute("SET LOCAL synchronous_commit TO on")
            return list(await connection.fetch(sql, *arguments, timeout=COMMIT_S))

    async def execute(self, sql: str, *arguments: Any) -> str:
        """Returns the status of a statement; raises StoreAwayError when PostgreSQL is away."""
        async with self._open() as connection:
            return str(await connection.execute(sql, *arguments, timeout=COMMIT_S))

    async def close(self) -> None:
        """Closes the connection."""
        if self._connection is not None:
            await close(self._connection)

    @contextlib.asynccontextmanager
    async def _open(self) -> AsyncIterator[Any]:
        async with self._lock:
            try:
                with away_as_error():
                    if self._connection is None or self._connection.is_closed():
                        self._connection = await connect(self._dsn)
                    yield self._connection
            except StoreAwayError:
                if self._connection is not None:
                    self._connection.terminate()
                    self._connection = None
                raise


class OutboxTable:
    """What reads and trims the outbox beside the commits."""

    def __init__(self, connection: SideConnection) -> None:
        self._connection = connection

    async def after(self, partition: int, offset: int, limit: int) -> list[tuple[int, bytes, bytes]]:
        """Returns a partition's next outbox rows above an offset: their next offset, pieces and rows as bytes."""
        return [tuple(row) for row in await self._connection.fetch(OUTBOX_SQL, partition, offset, limit)]

    async def trim(self, confirmed: dict[int, int], limit: int) -> int:
        """Deletes at most `limit` rows up to the offsets that every downstream has confirmed; returns how many."""
        status = await self._connection.execute(TRIM_SQL, list(confirmed), list(confirmed.values()), limit)
        return int(status.rsplit(maxsplit=1)[-1])


@contextlib.contextmanager
def away_as_error() -> Iterator[None]:
    """Turns what asyncpg raises for a server or connection that is away into StoreAwayError; what it refuses goes through."""
    try:
        yield
    except AWAY as error:
        raise StoreAwayError(f"postgres: must answer, got {error!r}; see `sentra status`") from error


async def close(connection: Any) -> None:
    """Closes a connection, in whatever condition it is."""
    try:
        await connection.close(timeout=CONNECT_S)
    except AWAY:
        connection.terminate()


async def connect(dsn: str) -> Any:
    """Opens a connection to PostgreSQL.

    Raises:
        StoreAwayError: it cannot be reached.
        PlantError: it refuses.
    """
    try:
        connection = await asyncpg.connect(dsn, timeout=CONNECT_S, server_settings=SETTINGS)
    except (*AWAY, asyncpg.PostgresError) as error:
        kind = StoreAwayError if isinstance(error, AWAY) else PlantError
        raise kind(f"postgres: must accept a connection, got {error!r}; see `sentra status`") from None
    use_packed_arrays(connection)
    return connection


async def open_ledger(dsn: str) -> Ledger:
    """Connects and prepares; the tables must be there (`storage.reset_stores`).

    Raises:
        StoreAwayError: PostgreSQL cannot be reached.
        PlantError: it lacks the tables, or refuses.
    """
    return Ledger(dsn, *await _connect_prepared(dsn))


async def _connect_prepared(dsn: str) -> tuple[Any, Any]:
    connection = await connect(dsn)
    try:
        with away_as_error():
            return connection, await connection.prepare(COMMIT_SQL.read_text(encoding="utf-8"))
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
        [letter.key for letter in dead],
    )


def outbox_pieces(poll: Poll, part: Part) -> bytes:
    """Returns a partition's pieces, those with rows, as bytes of PIECE."""
    pieces = poll.pieces[part.pieces]
    return pieces[pieces["rows"] > 0].astype(PIECE, copy=False).tobytes()


def _in_order(packed: bytes | None, keys: NDArray[np.uint32]) -> NDArray[np.void]:
    written = np.frombuffer(packed or b"", dtype=WRITTEN)
    order = np.argsort(written["key"])
    return written[order[np.searchsorted(written["key"], keys, sorter=order)]]

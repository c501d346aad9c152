"""The worker's side of Redis: the latest state per key, rebuilt from PostgreSQL whenever it is not what it should be.

`position:<key>` holds 24 bytes, STATE; `offset:<partition>` the offset up to which a partition's keys are written. A poll is
written only on top of the poll before it, so an older write never replaces a newer one, and a gap is noticed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import hiredis
import numpy as np
from numpy.typing import NDArray

from live_adapters.pipeline.consumer.poll import Effects, Poll
from live_adapters.pipeline.stores.breaker import Breaker, State
from live_adapters.pipeline.stores.retry import StoreAwayError

SCRIPT = Path(__file__).with_name("state.lua")
STATE = np.dtype([("version", "<i8"), ("quantity", "<f8"), ("price", "<f8")])
ANSWER_S = 2.0
PROBE_S = 0.1  # the poll loop waits for the probe of a Redis that may hang
CHECK_S = 1.0
READ_BYTES = 1 << 16

# Reads a partition's whole state from PostgreSQL: rows of key, version, quantity, price.
Snapshot = Callable[[int], Coroutine[Any, Any, list[tuple[int, int, float, float]]]]

log = logging.getLogger(__name__)


class RedisClient:
    """One connection that sends a command and awaits its answer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._parser = hiredis.Reader()

    @classmethod
    async def open(cls, host: str, port: int) -> RedisClient:
        """Connects, through a Unix socket when `host` is a path; OSError when nobody listens."""
        if host.startswith("/"):
            return cls(*await asyncio.open_unix_connection(host))
        return cls(*await asyncio.open_connection(host, port))

    async def call(self, *command: bytes | str | int) -> Any:
        """Sends one command; raises hiredis.ReplyError for an error answer, OSError for a lost connection."""
        self._writer.write(hiredis.pack_command(command))  # type: ignore[arg-type]  # its stub wants exactly one argument
        while (answer := self._parser.gets()) is False:
            data = await asyncio.wait_for(self._reader.read(READ_BYTES), ANSWER_S)
            if not data:
                raise ConnectionResetError("Redis closed the connection")
            self._parser.feed(data)
        if isinstance(answer, hiredis.ReplyError):
            raise answer
        return answer

    async def close(self) -> None:
        """Closes the connection."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


class _Names(dict[int, bytes]):
    """The Redis key of every key met so far."""

    def __missing__(self, key: int) -> bytes:
        name = self[key] = b"position:%d" % key
        return name


class HotState:
    """Writes polls to Redis. Redis being away does not stop the worker: the breaker leaves it alone, then it is rebuilt."""

    def __init__(self, host: str, port: int, snapshot: Snapshot, breaker: Breaker) -> None:
        self.breaker = breaker
        self._address = (host, port)
        self._snapshot = snapshot
        self._client: RedisClient | None = None
        self._script = b""
        self._checked_s = 0.0
        self._connections = 0
        self._unchecked = False  # connected anew: Redis may have come back empty
        self._names = _Names()
        self._using = asyncio.Lock()  # a takeover looks at one partition between two polls
        self.rebuilt = 0

    async def write(self, poll: Poll, effects: Effects, written: NDArray[np.void]) -> bool:
        """Makes a committed poll visible, `written` being what the commit returned; False when Redis is away."""
        return await self._guarded(self._write(poll, effects, written))

    async def take_over(self, offsets: dict[int, int]) -> bool:
        """Rebuilds those of the partitions that do not stand at the offset of PostgreSQL's progress; False when away."""
        for partition, offset in offsets.items():
            if not await self._guarded(self._catch_up(partition, offset)):
                return False
        return True

    async def heal(self, offsets: dict[int, int], *, idle: bool) -> None:
        """As `take_over`, when it may be needed: after a reconnect, and about once a second while no polls are written.

        A poll notices a gap in its own partitions; one that had none since Redis came back empty is noticed only here.
        """
        if self._unchecked or (idle and time.monotonic() >= self._checked_s + CHECK_S):
            self._checked_s, connections = time.monotonic(), self._connections
            caught_up = await self.take_over(offsets)
            self._unchecked = self._unchecked and not (caught_up and connections == self._connections)

    async def close(self) -> None:
        """Closes the connection."""
        if self._client is not None:
            await self._client.close()

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> bool:
        async with self._using:
            return await self._guarded_alone(work)

    async def _guarded_alone(self, work: Coroutine[Any, Any, None]) -> bool:
        if not self.breaker.permits():
            work.close()
            return False
        try:
            if self._client is None:
                await self._open()
            await work
        except (OSError, hiredis.HiredisError) as error:
            work.close()
            await self._leave_alone(error)
            return False
        except StoreAwayError:  # PostgreSQL in a rebuild, not Redis; the next connection looks at every partition again
            self.breaker.succeeded()
            await self._drop()
            raise
        self.breaker.succeeded()
        return True

    async def _open(self) -> None:
        probing = self.breaker.state is State.HALF_OPEN
        async with asyncio.timeout(PROBE_S if probing else ANSWER_S):
            self._client = await RedisClient.open(*self._address)
            self._script = await self._client.call("SCRIPT", "LOAD", SCRIPT.read_bytes())
        self._unchecked = True
        self._connections += 1

    async def _leave_alone(self, error: Exception) -> None:
        self.breaker.failed()
        log.warning("redis: must take a poll, got %r; goes on without it (breaker %s)", error, self.breaker.state.value)
        await self._drop()

    async def _drop(self) -> None:
        if self._client is not None:
            client, self._client = self._client, None
            await client.close()

    async def _write(self, poll: Poll, effects: Effects, written: NDArray[np.void]) -> None:
        states = np.empty(len(effects.key), dtype=STATE)
        states["version"], states["quantity"], states["price"] = written["version"], written["quantity"], effects.price
        arguments: list[bytes | str | int] = []
        for part in poll.parts:
            start, stop = np.searchsorted(effects.partition, [part.partition, part.partition + 1])
            names = b" ".join(map(self._names.__getitem__, effects.key[start:stop].tolist()))
            arguments += [part.partition, part.old_offset, part.next_offset, names, states[start:stop].tobytes()]
        offsets = await self._evaluate(arguments)
        for part, offset in zip(poll.parts, offsets, strict=True):
            if offset < part.next_offset:
                await self._rebuild(part.partition, part.next_offset)

    async def _catch_up(self, partition: int, offset: int) -> None:
        assert self._client is not None
        last = await self._client.call("GET", f"offset:{partition}")
        if last is None or int(last) < offset:
            await self._rebuild(partition, offset)

    async def _rebuild(self, partition: int, offset: int) -> None:
        rows = await self._snapshot(partition)
        states = np.array([row[1:] for row in rows], dtype=STATE)
        names = b" ".join(self._names[row[0]] for row in rows)
        await self._evaluate([partition, b"", offset, names, states.tobytes()])
        self.rebuilt += 1

    async def _evaluate(self, arguments: list[bytes | str | int]) -> list[int]:
        assert self._client is not None
        answer = await self._client.call("EVALSHA", self._script, 0, *arguments)
        return [int(offset) if offset else -1 for offset in answer]

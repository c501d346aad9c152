"""The ClickHouse engine as a server of the local stack: `python -m live_adapters.stack.clickhouse --port P --path DIR`.

A client sends one line of JSON:

- `{"query": "SELECT ..."}` is answered by one line, `{"rows": [...]}`; `{"reset": true}` empties the table, `{"ok": true}`.
- `{"ingest": {"hop_log": "<folder>", "flush_s": 0.4}}` is answered by `{"last": {"<partition>": <next_offset>}}`, the highest
  stored offsets; then the client streams frames until it closes: a header `<qiqiI` (frame, partition, next_offset, rows,
  payload bytes) and the rows of dtype `FILL`. Frames up to the stored offset are a replay and ignored. What gathers is
  inserted every `flush_s` seconds; a further `last` line then tells the client what is stored.

What a client does wrong gets one line, `{"error": "..."}`, and the connection is closed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import struct
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client.metrics_core import Metric

from live_adapters.host.threads import thread_group, thread_uses
from live_adapters.pipeline import planted
from live_adapters.pipeline.hoplog import JOBS, VISIBLE, HopLog
from live_adapters.pipeline.telemetry.exposition import PORT_SUFFIX, counter, gauge, serve_metrics
from live_adapters.stack._engine import FILL, ROW, Engine
from sentra_sim.units import NS_PER_S

HEADER = struct.Struct("<qiqiI")
MAX_FRAME_ROWS = 1_000_000
MERGING = "MergeMutate"  # what the engine calls its merging threads


class Server:
    """The engine with its one writing thread, shared by all connections."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._accepted = engine.last_offsets()
        self._ingests: set[Ingest] = set()
        self._inserts, self._rows, self._insert_ns = 0, 0, 0

    def metrics(self) -> Iterable[Metric]:
        """Returns what the engine did since it was started."""
        yield counter("sentra_clickhouse_inserts", "Blocks inserted.", self._inserts)
        yield counter("sentra_clickhouse_rows", "Rows inserted.", self._rows)
        yield counter("sentra_clickhouse_insert_seconds", "Time spent in inserts.", self._insert_ns / NS_PER_S)
        yield counter("sentra_clickhouse_merge_cpu_seconds", "CPU time of merges.", merge_cpu_ns() / NS_PER_S)
        yield gauge("sentra_clickhouse_clients", "Clients that send frames.", len(self._ingests))
        yield counter("process_cpu_seconds", "CPU time, user and system.", time.process_time())

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection; nothing that a client does ends the server."""
        try:
            await self._serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client left
        except Exception as error:
            with contextlib.suppress(ConnectionError):
                await _answer(writer, {"error": " ".join(str(error).split())})
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = _parse_request(await reader.readline())
        if "query" in request:
            await _answer(writer, {"rows": await self.run(self._engine.rows, request["query"])})
        elif "reset" in request:
            await self.reset()
            await _answer(writer, {"ok": True})
        else:
            await self._ingest(request["ingest"], reader, writer)

    async def run(self, work: Any, *arguments: Any) -> Any:
        """Runs work on the engine's thread, in order of arrival."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    async def reset(self) -> None:
        """Empties the table and forgets the offsets."""
        await self.run(self._engine.truncate)
        self._accepted.clear()

    def accept(self, partition: int, next_offset: int) -> bool:
        """Tells whether a frame is new, and remembers it as taken."""
        if next_offset <= self._accepted.get(partition, -1):
            return False
        self._accepted[partition] = next_offset
        return True

    async def insert(self, rows: NDArray[np.void]) -> tuple[int, int, int]:
        """Stores rows; returns start and end (monotonic ns) and CPU ns that the whole process spent meanwhile.

        Raises:
            RuntimeError: the engine refused them; the offsets are those stored again.
        """
        try:
            measured: tuple[int, int, int] = await self.run(self._timed_insert, rows)
        except Exception:
            self._accepted = await self.run(self._engine.last_offsets)
            raise
        return measured

    def _timed_insert(self, rows: NDArray[np.void]) -> tuple[int, int, int]:
        start, cpu = time.monotonic_ns(), time.process_time_ns()
        self._engine.insert(rows)
        end = time.monotonic_ns()
        self._inserts += 1
        self._rows += len(rows)
        self._insert_ns += end - start
        return start, end, time.process_time_ns() - cpu

    async def _ingest(
        self, request: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        ingest = Ingest(self, Path(request["hop_log"]), float(request.get("flush_s", 0.4)), writer)
        ingest.accept = planted.acceptor(request, self.accept)
        # A killed client's connection may still hold rows: they count as stored only once they are.
        for other in list(self._ingests):
            await other.flush()
        self._ingests.add(ingest)
        try:
            # Not what other clients have sent meanwhile: it is stored only later, and what is told here may leave the outbox.
            stored = await self.run(self._engine.last_offsets)
            await _answer(writer, {"last": {str(partition): offset for partition, offset in stored.items()}})
            await ingest.run(reader)
        finally:
            self._ingests.discard(ingest)
            ingest.close()


class Ingest:
    """What one client has sent and is not inserted yet."""

    def __init__(self, server: Server, hop_log: Path, flush_s: float, writer: asyncio.StreamWriter) -> None:
        if not hop_log.is_dir():
            raise ValueError(f"ingest.hop_log: must be a folder, got {hop_log}")
        if not 0 < flush_s <= 60:
            raise ValueError(f"ingest.flush_s: must be over 0 and at most 60 seconds, got {flush_s:g}")
        self._server, self._flush_s, self._writer = server, flush_s, writer
        self.accept: Callable[[int, int], bool] = server.accept
        self._blocks: list[NDArray[np.void]] = []
        self._frames: list[tuple[int, int]] = []  # frame, rows
        self._flushing = asyncio.Lock()
        self._visible = HopLog(hop_log, "clickhouse", "visible", VISIBLE)
        self._jobs = HopLog(hop_log, "clickhouse", "jobs", JOBS)
        self._merges = HopLog(hop_log, "clickhouse", "merges", JOBS)
        self._merged = (time.monotonic_ns(), merge_cpu_ns())  # as of the last look

    async def run(self, reader: asyncio.StreamReader) -> None:
        """Reads frames until the client closes, inserting every `flush_s`; what is left is inserted at the end."""
        reading = asyncio.create_task(self._read(reader))
        ticking = asyncio.create_task(self._tick())
        try:
            done, _ = await asyncio.wait({reading, ticking}, return_when=asyncio.FIRST_COMPLETED)
            await self.flush()
            for task in done:
                task.result()
        finally:
            for task in (reading, ticking):
                task.cancel()
            await asyncio.gather(reading, ticking, return_exceptions=True)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while True:
            try:
                header = await reader.readexactly(HEADER.size)
            except asyncio.IncompleteReadError as error:
                if error.partial:
                    raise
                return
            frame, partition, next_offset, rows, size = HEADER.unpack(header)
            if not 0 <= rows <= MAX_FRAME_ROWS or size != rows * FILL.itemsize:
                raise ValueError(
                    f"frame {frame}: payload must be rows * {FILL.itemsize} bytes, got {rows} rows, {size} bytes"
                )
            payload = await reader.readexactly(size)
            if rows and self.accept(partition, next_offset):
                self._frames.append((frame, rows))
                self._blocks.append(_block(np.frombuffer(payload, FILL), partition, next_offset, frame))

    async def _tick(self) -> None:
        due = time.monotonic()
        while True:
            # On a grid, so that an insert's duration does not stretch the period; a late one is not caught up with.
            due = max(due + self._flush_s, time.monotonic())
            await asyncio.sleep(due - time.monotonic())
            await self.flush()

    async def flush(self) -> None:
        """Inserts what has gathered and tells the hop log."""
        async with self._flushing:
            if not self._blocks:
                return
            blocks, self._blocks = self._blocks, []
            frames, self._frames = self._frames, []
            rows = np.concatenate(blocks)
            start, end, cpu_ns = await self._server.insert(rows)
            self._tell(frames, start, end, cpu_ns, len(rows))
            if not self._writer.is_closing():
                stored = {str(block["partition"][0]): int(block["next_offset"][0]) for block in blocks}
                self._writer.write(json.dumps({"last": stored}).encode() + b"\n")

    def _tell(self, frames: list[tuple[int, int]], start: int, end: int, cpu_ns: int, events: int) -> None:
        self._visible.append(np.array([(frame, count, end) for frame, count in frames], dtype=VISIBLE))
        self._jobs.append(np.array([(start, end, cpu_ns, len(frames), events)], dtype=JOBS))
        (since, spent), self._merged = self._merged, (time.monotonic_ns(), merge_cpu_ns())
        if self._merged[1] > spent:
            self._merges.append(np.array([(since, self._merged[0], self._merged[1] - spent, 0, 0)], dtype=JOBS))

    def close(self) -> None:
        """Closes the hop logs."""
        self._visible.close()
        self._jobs.close()
        self._merges.close()


def merge_cpu_ns() -> int:
    """Returns the CPU time that the engine's merging threads have had."""
    uses = thread_uses(os.getpid())
    return sum(
        round(use.cpu_s * NS_PER_S) for thread, use in uses.items() if thread_group(os.getpid(), thread) == MERGING
    )


def _block(fills: NDArray[np.void], partition: int, next_offset: int, frame: int) -> NDArray[np.void]:
    rows = np.empty(len(fills), ROW)
    rows["partition"], rows["next_offset"], rows["frame"] = partition, next_offset, frame
    for name in FILL.names or ():
        rows[name] = fills[name]
    return rows


def _parse_request(line: bytes) -> dict[str, Any]:
    try:
        request = json.loads(line)
    except ValueError as error:
        raise ValueError(f"request: must be one line of JSON, got {line[:80]!r}") from error
    known = {"query": str, "reset": bool, "ingest": dict}
    if not isinstance(request, dict) or len(request) != 1 or not set(request) <= set(known):
        raise ValueError(f"request: must have one key of {', '.join(known)}, got {line[:80]!r}")
    name: str = next(iter(request))
    if not isinstance(request[name], known[name]) or (name == "ingest" and "hop_log" not in request[name]):
        raise ValueError(f"request.{name}: must be a {known[name].__name__} as documented, got {line[:80]!r}")
    return request


async def _answer(writer: asyncio.StreamWriter, answer: dict[str, Any]) -> None:
    writer.write(json.dumps(answer).encode() + b"\n")
    await writer.drain()


def stand_back() -> None:
    """Lets every thread of this process run only when nothing else wants the core; later threads inherit it."""
    try:
        for thread in Path("/proc/self/task").iterdir():
            os.sched_setscheduler(int(thread.name), os.SCHED_IDLE, os.sched_param(0))
    except (AttributeError, OSError):  # no Linux, or not allowed
        os.nice(19)


async def _serve(port: int, path: Path) -> None:
    ended = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, ended.set)
    engine = Engine(path)
    server = Server(engine)
    serve_metrics(path.with_name(f"clickhouse{PORT_SUFFIX}"), [server.metrics])
    async with await asyncio.start_server(server.handle, "127.0.0.1", port, limit=2**20):
        stand_back()
        await ended.wait()
    sys.stdout.flush()
    os._exit(0)  # the engine's threads need seconds to wind down, and every insert is already on disk


def main() -> None:
    """Runs the server until SIGTERM."""
    import uvloop

    parser = argparse.ArgumentParser(description="ClickHouse engine of the local stack")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", type=Path, required=True)
    options = parser.parse_args()
    uvloop.run(_serve(options.port, options.path))


if __name__ == "__main__":
    main()

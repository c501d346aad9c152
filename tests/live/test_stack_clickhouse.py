"""The ClickHouse engine's server: each event stored once and told as visible, whatever its clients do."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from live_adapters.pipeline.hoplog import JOBS, VISIBLE, read_log
from live_adapters.stack._engine import FILL
from live_adapters.stack._ports import free_ports
from live_adapters.stack.clickhouse import HEADER

pytestmark = pytest.mark.live

COUNT = "SELECT count(), uniqExact(frame), sum(quantity) FROM fills"


@dataclass
class Server:
    """One server process over a data folder."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "live_adapters.stack.clickhouse"]
        command += ["--port", str(self.port), "--path", str(self.folder / "data")]
        self.process = subprocess.Popen(command)
        deadline = time.monotonic() + 60
        while True:
            assert self.process.poll() is None
            assert time.monotonic() < deadline
            try:
                self.connect().close()
                return
            except ConnectionRefusedError:
                time.sleep(0.05)

    def stop(self, how: signal.Signals) -> int:
        assert self.process
        self.process.send_signal(how)
        return self.process.wait(30)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def ask(self, line: bytes) -> dict[str, Any]:
        with self.connect() as client:
            client.sendall(line + b"\n")
            return answer(client)

    def rows(self, query: str) -> list[list[Any]]:
        rows: list[list[Any]] = self.ask(json.dumps({"query": query}).encode())["rows"]
        return rows

    def ingest(self, flush_s: float = 0.05) -> tuple[socket.socket, dict[str, int]]:
        client = self.connect()
        client.sendall(json.dumps({"ingest": {"hop_log": str(self.folder), "flush_s": flush_s}}).encode() + b"\n")
        return client, answer(client)["last"]


def answer(client: socket.socket) -> dict[str, Any]:
    """Reads one line, and not a byte of the next."""
    line = b""
    while not line.endswith(b"\n"):
        byte = client.recv(1)
        assert byte, line
        line += byte
    found: dict[str, Any] = json.loads(line)
    return found


def finish(client: socket.socket) -> list[dict[str, int]]:
    """Ends a stream as a client does, waits until the server has stored the rest, and returns what it said meanwhile."""
    client.shutdown(socket.SHUT_WR)
    with client, client.makefile() as lines:
        return [json.loads(line)["last"] for line in lines]


def frame(number: int, partition: int, next_offset: int, rows: int = 10) -> bytes:
    fills = np.zeros(rows, FILL)
    fills["key"], fills["tenant"], fills["quantity"], fills["price"] = np.arange(rows), number % 3, 2.0, 100.25
    return HEADER.pack(number, partition, next_offset, rows, fills.nbytes) + fills.tobytes()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path, free_ports(["server"])["server"])
    server.start()
    yield server
    server.stop(signal.SIGKILL)


def test_what_is_sent_is_stored_and_told_as_visible(server: Server) -> None:
    client, last = server.ingest()
    assert last == {}
    before = time.monotonic_ns()
    for number in range(30):
        client.sendall(frame(number, number % 6, 10 + number))
    told = finish(client)

    assert {partition: offset for last in told for partition, offset in last.items()} == {
        str(partition): 34 + partition for partition in range(6)
    }
    assert server.rows(COUNT) == [[300, 30, 600]]
    columns = "SELECT DISTINCT partition, next_offset, tenant, price FROM fills WHERE frame = 29"
    assert server.rows(columns) == [[5, 39, 2, 100.25]]
    visible = read_log(server.folder, "clickhouse", "visible", VISIBLE)
    assert sorted(visible["frame"]) == list(range(30))
    assert set(visible["events"]) == {10}
    assert visible["at"].min() > before
    jobs = read_log(server.folder, "clickhouse", "jobs", JOBS)
    assert (jobs["frames"].sum(), jobs["events"].sum()) == (30, 300)
    assert (jobs["cpu_ns"] > 0).all()
    assert (jobs["end"] > jobs["start"]).all()


def test_a_replay_after_a_client_died_in_the_middle_of_a_frame_stores_nothing_twice(server: Server) -> None:
    first, _ = server.ingest(flush_s=60)
    stream = [frame(number, number % 2, 10 + number) for number in range(20)]
    first.sendall(b"".join(stream[:7]) + stream[7][:-5])
    first.close()

    second, last = server.ingest()
    # What the dead client had sent whole may be stored or not when its successor asks; what counts is that the answer is true.
    stored = {
        str(partition): offset
        for partition, offset in server.rows("SELECT partition, max(next_offset) FROM fills GROUP BY partition")
    }
    assert {partition: int(offset) for partition, offset in stored.items()} == last
    second.sendall(b"".join(stream))
    finish(second)
    assert server.rows(COUNT) == [[200, 20, 400.0]]


def test_a_killed_server_knows_what_it_has_stored_and_reset_forgets_it(server: Server) -> None:
    client, _ = server.ingest()
    client.sendall(frame(1, 0, 10) + frame(2, 3, 25))
    finish(client)
    server.stop(signal.SIGKILL)
    server.start()

    client, last = server.ingest()
    assert last == {"0": 10, "3": 25}
    client.sendall(frame(2, 3, 25) + frame(3, 3, 35))
    finish(client)
    assert server.rows(COUNT) == [[30, 3, 60.0]]

    assert server.ask(b'{"reset": true}') == {"ok": True}
    client, last = server.ingest()
    assert last == {}
    finish(client)
    assert server.rows(COUNT)[0][0] == 0
    assert server.stop(signal.SIGTERM) == 0
    server.start()
    assert server.rows(COUNT)[0][0] == 0


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"hello", "request: must be one line of JSON, got b'hello"),
        (b"[1]", "request: must have one key of query, reset, ingest"),
        (b'{"query": 5}', "request.query: must be a str as documented"),
        (b'{"ingest": {}}', "request.ingest: must be a dict as documented"),
        (b'{"ingest": {"hop_log": "/no/such/folder"}}', "ingest.hop_log: must be a folder, got /no/such/folder"),
        (b'{"ingest": {"hop_log": "/", "flush_s": 0}}', "ingest.flush_s: must be over 0 and at most 60 seconds, got 0"),
        (b'{"query": "SELECT nonsense"}', "nonsense"),
    ],
)
def test_a_bad_client_gets_one_line_and_the_next_one_is_served(server: Server, line: bytes, told: str) -> None:
    error = server.ask(line)["error"]
    assert told in error
    assert "\n" not in error
    assert server.rows("SELECT 1") == [[1]]


def test_a_frame_with_a_wrong_size_ends_its_stream_alone(server: Server) -> None:
    good, _ = server.ingest()
    bad, _ = server.ingest()
    bad.sendall(frame(1, 0, 10) + HEADER.pack(2, 0, 20, 10, 7))
    assert answer(bad) == {"last": {"0": 10}}  # the frame before it is good
    assert answer(bad) == {"error": "frame 2: payload must be rows * 24 bytes, got 10 rows, 7 bytes"}
    bad.close()
    good.sendall(frame(3, 1, 30))
    finish(good)
    assert server.rows("SELECT frame, count() FROM fills GROUP BY frame ORDER BY frame") == [[1, 10], [3, 10]]


@pytest.mark.skipif(sys.platform != "linux", reason="SCHED_IDLE is Linux's")
def test_every_thread_of_the_engine_yields_its_core(server: Server) -> None:
    client, _ = server.ingest()
    client.sendall(frame(1, 0, 10))
    finish(client)
    assert server.process
    threads = [int(path.name) for path in Path(f"/proc/{server.process.pid}/task").iterdir()]
    assert {os.sched_getscheduler(thread) for thread in threads} == {os.SCHED_IDLE}


def test_a_table_of_many_parts_is_emptied_by_few_threads(server: Server) -> None:
    assert server.process
    client, _ = server.ingest(flush_s=0.001)
    for number in range(300):
        client.sendall(frame(number, 0, 10 + number))
        answer(client)  # stored, so the next frame is a part of its own
    finish(client)
    assert server.rows("SELECT count() > 200 FROM system.parts WHERE table = 'fills'") == [[1]]
    server.ask(b'{"reset": true}')
    assert len(list(Path(f"/proc/{server.process.pid}/task").iterdir())) < 60

"""Notices reach a webhook or are counted; whoever sends one never waits, and nobody sees the address."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from live_adapters.notifier import VARIABLE, Counts, Notice, Notifier, message, notifying
from live_adapters.pipeline.stores.retry import Backoff
from sentra_sim.errors import InputError

QUICK = Backoff(base_s=0.001, cap_s=0.01, total_s=2.0)
SECRET = "T000-very-secret"
SLOW = Notice("measured run misses its SLO", "e2e_p95_s out of bounds", "critical", {"run": "m50", "a<b": "1 & 2"})


class Receiver(ThreadingHTTPServer):
    """Answers with the given statuses in turn, then with 200; `hold` makes it wait until the test is over."""

    daemon_threads = True

    def __init__(self, statuses: list[int], headers: dict[str, str], hold: bool) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.statuses, self.extra, self.hold = statuses, headers, hold
        self.bodies: list[dict[str, object]] = []
        self.over = threading.Event()
        self.arrived = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/services/{SECRET}"


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(body)
        self.server.arrived.set()
        if self.server.hold:
            self.server.over.wait()
            return
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 200)
        for name, value in self.server.extra.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def receiver(*statuses: int, headers: dict[str, str] | None = None, hold: bool = False) -> Iterator[Receiver]:
    with Receiver(list(statuses), headers or {}, hold) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def unseen(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.DEBUG)
    yield
    assert SECRET not in caplog.text


def test_a_notice_arrives_as_slack_has_it() -> None:
    with receiver() as server:
        notifier = Notifier(server.url, backoff=QUICK)
        notifier.send(SLOW)
        assert notifier.close() == Counts(sent=1)
    (body,) = server.bodies
    assert body["text"] == "✖ measured run misses its SLO: e2e_p95_s out of bounds"
    header, section, fields = body["blocks"]  # type: ignore[misc]
    assert header == {"type": "header", "text": {"type": "plain_text", "text": "✖ measured run misses its SLO"}}
    assert section["text"] == {"type": "mrkdwn", "text": "e2e_p95_s out of bounds"}
    assert [each["text"] for each in fields["fields"]] == ["*run*\nm50", "*a&lt;b*\n1 &amp; 2"]


def test_what_is_long_is_cut_to_what_slack_takes() -> None:
    body = json.loads(message(Notice("t" * 500, "x" * 9_000, fields={str(n): "v" * 3_000 for n in range(30)})))
    header, section, fields = body["blocks"]
    assert (len(header["text"]["text"]), len(section["text"]["text"]), len(body["text"])) == (150, 3_000, 3_000)
    assert [len(each["text"]) for each in fields["fields"]] == [2_000] * 10


def test_a_receiver_that_fails_once_gets_it_again_and_order_is_kept() -> None:
    with receiver(500, 503) as server:
        notifier = Notifier(server.url, backoff=QUICK)
        for number in range(3):
            notifier.send(Notice(f"n{number}", ""))
        assert notifier.close() == Counts(sent=3)
    assert [str(body["text"])[2:4] for body in server.bodies] == ["n0", "n0", "n0", "n1", "n2"]


def test_a_receiver_that_asks_for_time_gets_it() -> None:
    with receiver(429, headers={"Retry-After": "1"}) as server:
        notifier = Notifier(server.url, backoff=QUICK)
        begun = time.monotonic()
        notifier.send(SLOW)
        assert notifier.close() == Counts(sent=1)
        assert time.monotonic() - begun >= 1.0
    assert len(server.bodies) == 2


def test_one_that_asks_for_more_time_than_there_is_is_given_up() -> None:
    with receiver(429, headers={"Retry-After": "Fri, 31 Dec 2100 23:59:59 GMT"}) as server:
        notifier = Notifier(server.url, backoff=QUICK)
        notifier.send(SLOW)
        assert notifier.close() == Counts(failed=1)
    assert len(server.bodies) == 1


@pytest.mark.parametrize("status", [302, 400, 404, 410])
def test_a_no_for_good_is_not_asked_again(status: int, caplog: pytest.LogCaptureFixture) -> None:
    with receiver(status, headers={"Location": "http://127.0.0.1:1/"}) as server:
        notifier = Notifier(server.url, backoff=QUICK)
        notifier.send(SLOW)
        assert notifier.close() == Counts(failed=1)
    assert len(server.bodies) == 1
    assert f"got {status}" in caplog.text


def test_without_a_receiver_it_is_counted_as_failed(caplog: pytest.LogCaptureFixture) -> None:
    with receiver() as server:
        url = server.url
    notifier = Notifier(url, backoff=Backoff(base_s=0.001, cap_s=0.01, total_s=0.1))
    notifier.send(SLOW)
    assert notifier.close() == Counts(failed=1)
    assert "got no answer" in caplog.text


def test_a_receiver_that_hangs_holds_nobody_up() -> None:
    with receiver(hold=True) as server:
        notifier = Notifier(server.url, backoff=QUICK, queued=2)
        notifier.send(SLOW)
        assert server.arrived.wait(10.0)
        begun = time.monotonic()
        for _ in range(10):
            notifier.send(SLOW)
        assert notifier.close(within_s=0.05) == Counts(dropped=11)
        assert time.monotonic() - begun < 2.0
        notifier.send(SLOW)
        assert notifier.counts == Counts(dropped=12)


def test_without_an_address_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    threads = threading.active_count()
    with notifying(None) as notifier:
        notifier.send(SLOW)
        assert threading.active_count() == threads
    assert notifier.counts == Counts()


def test_the_address_comes_from_the_environment_and_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiver() as server:
        monkeypatch.setenv(VARIABLE, server.url)
        with notifying(None) as notifier:
            assert SECRET not in repr(vars(notifier)["_thread"]) + repr(notifier)
            notifier.send(SLOW)
        assert notifier.counts == Counts(sent=1)


@pytest.mark.parametrize(
    "url", [f"ftp://x/{SECRET}", SECRET, f"http:///{SECRET}", f"http://[/{SECRET}", f"http://x/{SECRET} y"]
)
def test_what_is_no_address_is_refused_without_showing_it(url: str) -> None:
    with (
        pytest.raises(InputError, match=r"^--notify: must be the http or https address of a webhook") as refused,
        notifying(url),
    ):
        pass
    assert SECRET not in str(refused.value)


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30.0
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_ctrl_c_ends_a_command_whose_receiver_hangs(tmp_path: Path) -> None:
    program = (
        "import time\nfrom live_adapters.notifier import Notice, notifying\n"
        "with notifying(None) as notifier:\n    notifier.send(Notice('t', 'x'))\n    time.sleep(60)\n"
    )
    with receiver(hold=True) as server:
        environment = os.environ | {VARIABLE: server.url}
        with (tmp_path / "err").open("wb") as err:
            process = subprocess.Popen([sys.executable, "-c", program], env=environment, stderr=err)
        try:
            assert server.arrived.wait(60.0)
            process.send_signal(signal.SIGINT)
            until(lambda: process.poll() is not None)
        finally:
            process.kill()
            process.wait()
    assert process.returncode == -signal.SIGINT
    assert SECRET not in (tmp_path / "err").read_text(encoding="utf-8")

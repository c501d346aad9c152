"""Notices to a Slack-compatible incoming webhook: off unless an address is given, and never in its caller's way.

A thread of its own posts; the caller only puts a notice into a bounded queue. What finds the queue full is dropped and counted.
The address is a secret, since whoever has it can post: no message, log line or `repr` shows it.
"""

from __future__ import annotations

import http.client
import json
import logging
import os
import random
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal
from urllib.parse import urlsplit

from live_adapters.pipeline.stores.retry import Backoff
from sentra_sim.errors import InputError

VARIABLE = "SENTRA_WEBHOOK"
QUEUED = 64  # notices
ANSWER_S = 5.0
FLUSH_S = 10.0  # the longest that the end of a command waits
INTERRUPTED_S = 1.0  # and that of one which was interrupted
BACKOFF = Backoff(base_s=0.5, cap_s=8.0, total_s=60.0)
MAX_FIELDS = 10  # of a section, Slack's limit
MAX_TEXT, MAX_FIELD, MAX_TITLE = 3_000, 2_000, 150  # characters, Slack's limits
AGAIN = {408, 425, 429, *range(500, 600)}  # HTTP statuses after which one may try again

Severity = Literal["info", "warning", "critical"]
SIGNS: dict[Severity, str] = {"info": "ℹ", "warning": "⚠", "critical": "✖"}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Notice:
    """What is told: a title, a sentence or more, how bad it is, and values by name."""

    title: str
    text: str
    severity: Severity = "info"
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Counts:
    """What became of the notices."""

    sent: int = 0
    dropped: int = 0  # the queue was full, or the end came first
    failed: int = 0  # refused, or tried for too long


class Notifier:
    """Posts notices in their order. Without an address it does nothing."""

    def __init__(
        self, url: str | None, *, backoff: Backoff = BACKOFF, queued: int = QUEUED, answer_s: float = ANSWER_S
    ) -> None:
        self.counts = Counts()
        self._url = url
        self._backoff, self._queued, self._answer_s = backoff, queued, answer_s
        self._opener = urllib.request.build_opener(_NoRedirect)
        self._rng = random.Random()
        self._waiting: deque[Notice] = deque()
        self._posting = False
        self._change = threading.Condition()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def send(self, notice: Notice) -> None:
        """Takes a notice and returns at once."""
        if self._url is None:
            return
        with self._change:
            if self._ended.is_set() or len(self._waiting) >= self._queued:
                self.counts.dropped += 1
                return
            self._waiting.append(notice)
            self._change.notify_all()
            if self._thread is None:
                # A daemon: a receiver that hangs holds up the end of the process no longer than `close` waits.
                self._thread = threading.Thread(target=self._run, name="notifier", daemon=True)
                self._thread.start()

    def close(self, within_s: float = FLUSH_S) -> Counts:
        """Waits up to `within_s` for what is under way, drops the rest, and returns what became of all."""
        with self._change:
            if self._ended.is_set():
                return self.counts
            try:
                self._change.wait_for(lambda: not self._waiting and not self._posting, within_s)
            finally:
                self._ended.set()
                self.counts.dropped += len(self._waiting) + self._posting
                self._waiting.clear()
                self._change.notify_all()
        if self.counts.dropped or self.counts.failed:
            log.warning(
                "notifier: %d sent, %d failed, %d dropped", self.counts.sent, self.counts.failed, self.counts.dropped
            )
        return self.counts

    def _run(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: bool(self._waiting) or self._ended.is_set())
                if self._ended.is_set():
                    return
                notice, self._posting = self._waiting.popleft(), True
            sent = self._delivered(message(notice))
            with self._change:
                if self._ended.is_set():
                    return  # counted as dropped by now
                self._posting = False
                self.counts.sent += sent
                self.counts.failed += not sent
                self._change.notify_all()

    def _delivered(self, body: bytes) -> bool:
        """Posts until the receiver has it, says no for good, or time is up."""
        give_up_s = time.monotonic() + self._backoff.total_s
        for delay_s in self._backoff.delays_s(self._rng):
            status, wait_s = self._post(body)
            if 200 <= status < 300:
                return True
            wait_s = max(delay_s, wait_s)
            if (status and status not in AGAIN) or time.monotonic() + wait_s > give_up_s:
                log.warning(
                    "notifier: the webhook must take a notice, got %s; look at its address", status or "no answer"
                )
                return False
            if self._ended.wait(wait_s):
                return False
        return False

    def _post(self, body: bytes) -> tuple[int, float]:
        """Returns the answer's HTTP status, 0 without one, and how long it asks to wait, s."""
        headers = {"Content-Type": "application/json"}
        try:
            request = urllib.request.Request(str(self._url), body, headers)
            with self._opener.open(request, timeout=self._answer_s) as answer:
                return int(answer.status), 0.0
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _retry_after_s(error.headers.get("Retry-After", ""))
        except (OSError, http.client.HTTPException):
            return 0, 0.0


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A webhook that moved is to be told, not followed: where it leads was not chosen by the user."""

    def redirect_request(self, *_: Any) -> None:
        """Follows nothing."""


@contextmanager
def notifying(url: str | None) -> Iterator[Notifier]:
    """Yields a notifier for a command's length; its end waits for what is under way, for a bounded time.

    Args:
        url: The webhook; None takes that of the environment variable SENTRA_WEBHOOK, without which no notice goes out.

    Raises:
        InputError: the address is none.
    """
    place = "--notify" if url is not None else VARIABLE
    notifier = Notifier(_checked(url if url is not None else os.environ.get(VARIABLE), place))
    try:
        yield notifier
    except BaseException:
        notifier.close(INTERRUPTED_S)
        raise
    notifier.close()


def message(notice: Notice) -> bytes:
    """Returns a notice as Slack's incoming webhooks take it: a text for what shows no blocks, and blocks."""
    title = f"{SIGNS[notice.severity]} {notice.title}"
    fields = [
        {"type": "mrkdwn", "text": f"*{_escaped(name)}*\n{_escaped(value)}"[:MAX_FIELD]}
        for name, value in list(notice.fields.items())[:MAX_FIELDS]
    ]
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": title[:MAX_TITLE]}},
        {"type": "section", "text": {"type": "mrkdwn", "text": _escaped(notice.text)[:MAX_TEXT]}},
    ]
    if fields:
        blocks.append({"type": "section", "fields": fields})
    return json.dumps({"text": f"{_escaped(title)}: {_escaped(notice.text)}"[:MAX_TEXT], "blocks": blocks}).encode()


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _checked(url: str | None, place: str) -> str | None:
    if not url:
        return None
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good or not url.isascii() or not url.isprintable() or " " in url:
        raise InputError(f"{place}: must be the http or https address of a webhook, got none (not shown); mend it")
    return url


def _retry_after_s(value: str) -> float:
    """Reads Retry-After, seconds or a date; 0 where it is neither."""
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return 0.0

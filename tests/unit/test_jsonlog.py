"""Logs for machines: one object a line, and a dead process' last words stay readable in both forms."""

import json
import logging

import pytest

from live_adapters.pipeline.telemetry.jsonlog import JsonFormatter, readable, set_up_logs
from sentra_sim.errors import InputError


def line(message: str, *arguments: object, **extra: object) -> str:
    formatter = JsonFormatter("worker")
    formatter.run = "events-k3v9"
    record = logging.getLogger("live_adapters.x").makeRecord(
        "live_adapters.x", logging.WARNING, "x.py", 1, message, arguments, None, extra=extra
    )
    return formatter.format(record)


def test_a_line_tells_who_said_what_in_which_run_and_the_extra_fields() -> None:
    told = json.loads(line("partition %d: gone", 3, offset=17))
    assert told.pop("time").endswith("+00:00")
    assert told == {
        "level": "WARNING",
        "process": "worker",
        "logger": "live_adapters.x",
        "message": "partition 3: gone",
        "run": "events-k3v9",
        "offset": 17,
    }


def test_last_words_are_read_the_same_in_both_forms() -> None:
    assert readable(line("is gone")).endswith(" worker WARNING live_adapters.x: is gone")
    for plain in ("2026-01-01 worker INFO worker: drained", '{"half": ', "{}", "[1]", "7"):
        assert readable(plain) == plain


def test_a_form_that_there_is_not_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENTRA_LOG_FORMAT", "xml")
    with pytest.raises(InputError, match="SENTRA_LOG_FORMAT: must be one of text, json, got 'xml'"):
        set_up_logs("worker")

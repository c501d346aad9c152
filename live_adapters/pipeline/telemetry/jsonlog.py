"""Logs of the pipeline's processes: text for people, or with `SENTRA_LOG_FORMAT=json` one JSON object a line."""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime

from sentra_sim.errors import InputError

VARIABLE = "SENTRA_LOG_FORMAT"
FORMATS = ("text", "json")
_KNOWN = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Writes a record as one line: time, level, process, logger, message, run, and what `extra` holds."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process
        self.run: str | None = None  # known once the configuration is read

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line."""
        told: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "process": self._process,
            "logger": record.name,
            "message": record.getMessage(),
            "run": self.run,
        }
        told |= {name: value for name, value in vars(record).items() if name not in _KNOWN}
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told, default=str)


def set_up_logs(process: str) -> JsonFormatter | None:
    """Sends this process' log to standard error in the form that the environment asks for; returns the formatter of JSON.

    Raises:
        InputError: there is no such form.
    """
    asked = os.environ.get(VARIABLE) or FORMATS[0]
    if asked not in FORMATS:
        raise InputError(f"{VARIABLE}: must be one of {', '.join(FORMATS)}, got {asked!r}; choose one of them")
    handler = logging.StreamHandler(sys.stderr)
    formatter = JsonFormatter(process) if asked == "json" else None
    handler.setFormatter(formatter or logging.Formatter(f"%(asctime)s {process} %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    return formatter


def readable(line: str) -> str:
    """Returns a line of a log as people read it, whichever form it has."""
    try:
        told = json.loads(line)
        return f"{told['time']} {told['process']} {told['level']} {told['logger']}: {told['message']}" + (
            f" {told['exception'].splitlines()[-1]}" if "exception" in told else ""
        )
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return line

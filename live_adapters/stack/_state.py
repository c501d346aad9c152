"""The state file: which processes make up the stack, told so that a later command can find and trust them."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from sentra_sim.errors import StackError

SCHEMA = 1
FILE = "stack.json"


@dataclass(frozen=True)
class Process:
    """A process named beyond doubt: a pid may be recycled, a pid with its start time is not.

    Attributes:
        pid: Process id.
        created_s: Start time, seconds since 1970, as psutil tells it.
        version: What the component said of itself when it was ready.
    """

    pid: int
    created_s: float
    version: str = ""


@dataclass(frozen=True)
class State:
    """What `stack.json` holds.

    Attributes:
        id: Of this stack; a new one each time everything is started anew.
        ready: False from before the first process starts until every component answers.
        ports: By component; `kafka-1-controller` and the like for the controllers, `proxy` only of a proxied stack.
        password: PostgreSQL's.
        processes: By component.
    """

    id: str
    ready: bool
    ports: dict[str, int]
    password: str
    processes: dict[str, Process] = field(default_factory=dict)

    def with_process(self, name: str, process: Process) -> State:
        """Returns the state with one component's process replaced."""
        return replace(self, processes=self.processes | {name: process})


def new_state(ports: dict[str, int]) -> State:
    """Returns the state of a stack of which nothing runs yet."""
    return State(id=secrets.token_hex(6), ready=False, ports=ports, password=secrets.token_hex(12))


def write_state(home: Path, state: State) -> None:
    """Replaces the state file in one step; readable for this user alone, for it holds a password."""
    temporary = home / f"{FILE}.{os.getpid()}.part"
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(file, "w") as stream:
        json.dump({"schema": SCHEMA} | asdict(state), stream, indent=1)
    temporary.replace(home / FILE)


def read_state(home: Path) -> State | None:
    """Returns the state, or None when the home has no stack.

    Raises:
        StackError: the file is not a state file of this version.
    """
    file = home / FILE
    try:
        return _parse(json.loads(file.read_text()))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StackError(
            f"{file}: must be a state file of schema {SCHEMA}, got {error!r}; end what runs there and remove the file"
        ) from error


def remove_state(home: Path) -> None:
    """Removes the state file, and what a killed writer left of one."""
    for file in (home / FILE, *home.glob(f"{FILE}.*.part")):
        file.unlink(missing_ok=True)


def _parse(data: dict[str, Any]) -> State:
    if data.pop("schema") != SCHEMA:
        raise ValueError("another schema")
    processes = {name: Process(**process) for name, process in data.pop("processes").items()}
    return State(**data, processes=processes)

"""Starting detached processes, and ending exactly those: never by a bare pid, never by a name."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from live_adapters.stack._state import Process

# Every process of a stack carries `<home>:<component>` in its environment. So a component whose starter was killed before
# it could write the pid down is still found.
MARK = "SENTRA_STACK_COMPONENT"
# A start time is the boot time, which moves when the clock is set, plus ticks. Nobody gets a pid anew within two seconds.
_CLOCK_SLACK_S = 2.0


@dataclass(frozen=True)
class Launch:
    """How to start one component.

    Attributes:
        name: The component's.
        command: Program and arguments.
        folder: Working directory.
        log: File that gets standard output and error.
        user: Numeric (uid, gid) to run under, None: the caller's.
        environment: Added to the caller's.
    """

    name: str
    command: list[str]
    folder: Path
    log: Path
    user: tuple[int, int] | None = None
    environment: dict[str, str] = field(default_factory=dict)


def spawn(home: Path, launch: Launch) -> Process:
    """Starts a component in a session of its own, so that neither Ctrl-C nor the parent's death reaches it."""
    launch.folder.mkdir(parents=True, exist_ok=True)
    launch.log.parent.mkdir(parents=True, exist_ok=True)
    uid, gid = launch.user or (None, None)
    with launch.log.open("ab") as log:
        child = subprocess.Popen(
            launch.command,
            cwd=launch.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=_environment() | launch.environment | {MARK: f"{home}:{launch.name}"},
            start_new_session=True,
            user=uid,
            group=gid,
            extra_groups=None if uid is None else [],
        )
    child.returncode = 0  # detached: `alive` reaps it, Popen must neither wait for it nor warn
    return Process(child.pid, psutil.Process(child.pid).create_time())


def _environment() -> dict[str, str]:
    """Returns the caller's environment without what would change a server behind its configuration's back."""
    unwanted = ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "CLASSPATH", "PGDATA", "PGOPTIONS", "PGPORT")
    return {name: value for name, value in os.environ.items() if name not in unwanted}


def alive(process: Process) -> psutil.Process | None:
    """Returns the live process, or None when it has ended or its pid belongs to a stranger by now."""
    try:
        found = psutil.Process(process.pid)
        if abs(found.create_time() - process.created_s) > _CLOCK_SLACK_S:
            return None
        if found.status() != psutil.STATUS_ZOMBIE:
            return found
        if found.ppid() == os.getpid():
            os.waitpid(process.pid, os.WNOHANG)
    except (psutil.Error, ChildProcessError):
        pass
    return None


def wait_forgotten(process: Process, timeout_s: float) -> None:
    """Waits until a process that has ended is out of the process table, at most `timeout_s`.

    PostgreSQL does not start while its predecessor's id is there, and who has to collect the dead may take its time.
    """
    deadline = time.monotonic() + timeout_s
    with contextlib.suppress(psutil.NoSuchProcess):
        left = psutil.Process(process.pid)
        while abs(left.create_time() - process.created_s) < _CLOCK_SLACK_S and time.monotonic() < deadline:
            alive(process)  # collects it if it is this process' own
            time.sleep(0.02)
            left = psutil.Process(process.pid)


def marked(home: Path) -> dict[str, list[psutil.Process]]:
    """Finds every process that was started for this home, by component, whether or not it was ever written down."""
    found: dict[str, list[psutil.Process]] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError, UnicodeError):
            owner, _, name = process.environ().get(MARK, "").rpartition(":")
            if owner == str(home) and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                found.setdefault(name, []).append(process)
    return found


def end(processes: Iterable[tuple[psutil.Process, signal.Signals]], grace_s: float) -> None:
    """Ends processes and their descendants: asks, waits `grace_s` seconds, kills, waits until each is gone."""
    asked = list(processes)
    family = {process: None for process, _ in asked}
    for process, _ in asked:
        with contextlib.suppress(psutil.Error):
            family.update(dict.fromkeys(process.children(recursive=True)))
    for process, request in asked:
        _send(process, request)
    for process in _still_there(list(family), grace_s):
        _send(process, signal.SIGKILL)
    _still_there(list(family), 10.0)


def _send(process: psutil.Process, what: signal.Signals) -> None:
    with contextlib.suppress(psutil.Error):
        process.send_signal(what)  # psutil compares the start time first


def _still_there(processes: list[psutil.Process], timeout_s: float) -> list[psutil.Process]:
    deadline = time.monotonic() + timeout_s
    while (left := [process for process in processes if runs(process)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


def runs(process: psutil.Process) -> bool:
    """Tells whether a process found earlier still runs."""
    with contextlib.suppress(psutil.Error):
        return alive(Process(process.pid, process.create_time())) is not None
    return False

"""Starts the processes of a run, watches them, ends them: one that dies unasked ends the run with its last words."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from live_adapters.pipeline.process import PARENT
from live_adapters.pipeline.telemetry.jsonlog import readable
from sentra_sim.errors import PlantError

READY_S = 30.0
STOP_S = 15.0
POLL_S = 0.02
LAST_LINES = 5
# NumPy's linear algebra starts a thread per core, which spin for their next task on the cores that everybody shares.
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

log = logging.getLogger(__name__)


@dataclass
class _Child:
    """A started process and how often it may be started again."""

    process: subprocess.Popen[bytes]
    command: list[str]
    restarts_left: int
    restarts: int = 0
    may_end: bool = False  # by itself, with exit code 0
    down: bool = False  # ended on purpose, until it is started again


class Supervisor:
    """The processes of one run. Use as a context manager: leaving it, in whatever way, leaves no process.

    Every child is a session of its own, so that Ctrl-C in a terminal reaches the parent only, which stops the children in
    order. Output goes to `<scratch>/<name>.log`; a child is ready when `<scratch>/<name>.ready` exists.
    """

    def __init__(self, scratch: Path, config_file: Path) -> None:
        self._scratch = scratch
        self._config_file = config_file
        self._children: dict[str, _Child] = {}
        self._checking = threading.Lock()  # one process may be started again while another thread watches the rest

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop_all(timeout_s=STOP_S if error is None else 1.0)

    def start(
        self, modules: dict[str, str], *, restarts: dict[str, int] | None = None, ready_s: float = READY_S
    ) -> None:
        """Starts `python -m module --config FILE` for each name side by side and waits until all are ready.

        Args:
            modules: Python module by process name.
            restarts: how often a process is started again after an end that nobody asked for; never where not named.
            ready_s: how long they may take to be ready.

        Raises:
            PlantError: one of them, or a process started before, died; or one is not ready in time.
        """
        for name, module in modules.items():
            command = [sys.executable, "-m", module, "--config", str(self._config_file), "--name", name]
            self._children[name] = _Child(self._spawn(name, command), command, (restarts or {}).get(name, 0))
        for name in modules:
            ready = self._scratch / f"{name}.ready"
            self._wait(ready.exists, ready_s, f"{name}: must be ready within {ready_s:.0f} s, got nothing", name)

    def expect_end(self, name: str) -> None:
        """Lets a process end by itself with exit code 0 without ending the run."""
        self._children[name].may_end = True

    def ended(self, name: str) -> bool:
        """Tells whether a process has ended."""
        return self._children[name].process.poll() is not None

    def check(self) -> None:
        """Looks at every process; starts again what may be.

        Raises:
            PlantError: one died that may not be started again; the message holds its exit code and last log lines.
        """
        with self._checking:
            for name, child in self._children.items():
                code = child.process.poll()
                if code is None or child.down or (code == 0 and child.may_end):
                    continue
                if child.restarts_left == 0:
                    raise PlantError(
                        f"{name}: must run to the end of the run, got {_ending(code)}; {self._last_lines(name)}"
                    )
                child.restarts_left -= 1
                child.restarts += 1
                log.warning("%s ended with %s, started again", name, _ending(code))
                (self._scratch / f"{name}.ready").unlink(missing_ok=True)
                child.process = self._spawn(name, child.command)

    def pids(self) -> dict[str, int]:
        """Returns the process id of every child that was started."""
        return {name: child.process.pid for name, child in self._children.items()}

    def restarts(self, name: str) -> int:
        """Returns how often a process was started again."""
        return self._children[name].restarts

    def stop(self, name: str, timeout_s: float = STOP_S) -> None:
        """Asks a process to drain and to end, and waits for it; one that was killed on purpose has ended already.

        Raises:
            PlantError: it did not end within `timeout_s` (it is killed then), or ended with a failure.
        """
        child = self._children.pop(name)
        if not child.down:
            self._end(name, child.process, timeout_s)

    def kill(self, name: str) -> None:
        """Kills a process, which stays down until `start_again`."""
        child = self._children[name]
        child.down = True
        _kill(child.process)

    def restart(self, name: str, timeout_s: float = STOP_S) -> None:
        """Asks a process to drain and to end, starts it again and waits until it is ready.

        Raises:
            PlantError: it did not end in order, or does not become ready.
        """
        child = self._children[name]
        child.down = True
        self._end(name, child.process, timeout_s)
        self.start_again(name)

    def start_again(self, name: str, ready_s: float = READY_S) -> None:
        """Starts a process again that is down, and waits until it is ready.

        Raises:
            PlantError: it is not ready in time, or died and may not be started again.
        """
        child = self._children[name]
        ready = self._scratch / f"{name}.ready"
        ready.unlink(missing_ok=True)
        child.process = self._spawn(name, child.command)
        child.restarts += 1
        child.down = False
        self._wait(ready.exists, ready_s, f"{name}: must be ready within {ready_s:.0f} s, got nothing", name)

    def _end(self, name: str, process: subprocess.Popen[bytes], timeout_s: float) -> None:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            _kill(process)
            raise PlantError(
                f"{name}: must drain within {timeout_s:.0f} s, got no end; {self._last_lines(name)}"
            ) from None
        if code:
            raise PlantError(f"{name}: must end in order, got {_ending(code)}; {self._last_lines(name)}")

    def stop_all(self, timeout_s: float = STOP_S) -> None:
        """Ends every process that is left, first asked to, then killed; never raises for how they end."""
        processes = [child.process for child in self._children.values()]
        self._children.clear()
        try:
            for process in processes:
                if process.poll() is None:
                    process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + timeout_s
            for process in processes:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, deadline - time.monotonic()))
        finally:  # a second Ctrl-C too
            for process in processes:
                _kill(process)

    def _spawn(self, name: str, command: list[str]) -> subprocess.Popen[bytes]:
        with (self._scratch / f"{name}.log").open("ab") as output:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={**os.environ, **ONE_THREAD, PARENT: str(os.getpid())},
            )

    def _wait(self, done: Callable[[], bool], timeout_s: float, late: str, name: str) -> None:
        deadline = time.monotonic() + timeout_s
        while not done():
            self.check()
            if time.monotonic() > deadline:
                raise PlantError(f"{late}; {self._last_lines(name)}")
            time.sleep(POLL_S)

    def _last_lines(self, name: str) -> str:
        file = self._scratch / f"{name}.log"
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []
        words = [readable(line.strip()) for line in lines if line.strip()][-LAST_LINES:]
        return f"its last log lines: {' | '.join(words)}" if words else "it logged nothing"


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kills a process with what it started; it leads its own session, so its group is its id."""
    if process.poll() is None:  # else its id may be another's by now
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _ending(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

"""CPU time by thread, from /proc/PID/task/*/schedstat: what a process does beside its work, as a JVM its compiling, shows here."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from sentra_sim.units import NS_PER_S

PROC = Path("/proc")
_NUMBERING = re.compile(r"[-_# ]*\d+$")


@dataclass(frozen=True)
class ThreadUse:
    """What a thread has had so far: seconds on a core, and seconds waiting for one."""

    cpu_s: float
    run_delay_s: float


def thread_uses(pid: int) -> dict[int, ThreadUse]:
    """Returns the use of every living thread by its id; empty where the kernel does not say."""
    found = {}
    for file in (PROC / str(pid) / "task").glob("*/schedstat"):
        try:
            cpu_ns, delay_ns = (int(word) for word in file.read_bytes().split()[:2])
        except (OSError, ValueError):
            continue  # the thread has ended meanwhile
        found[int(file.parent.name)] = ThreadUse(cpu_ns / NS_PER_S, delay_ns / NS_PER_S)
    return found


def thread_group(pid: int, thread: int) -> str:
    """Returns a thread's name without its number, so that the threads of a pool count as one."""
    try:
        name = (PROC / str(pid) / "task" / str(thread) / "comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "ended"
    return _NUMBERING.sub("", name) or name


class ThreadAccount:
    """CPU seconds by thread group, those of threads that have ended included."""

    def __init__(self) -> None:
        self._groups: dict[tuple[int, int], str] = {}
        self._last: dict[tuple[int, int], float] = {}
        self._total: defaultdict[str, float] = defaultdict(float)

    def add(self, pid: int, uses: dict[int, ThreadUse]) -> None:
        """Counts what the threads of a process did since the last call."""
        for thread, use in uses.items():
            key = (pid, thread)
            if key not in self._groups:
                self._groups[key] = thread_group(pid, thread)
            last = self._last.get(key, 0.0)
            self._total[self._groups[key]] += use.cpu_s - last if use.cpu_s >= last else use.cpu_s  # an id used again
            self._last[key] = use.cpu_s

    def total(self) -> dict[str, float]:
        """Returns the seconds by group until now."""
        return dict(self._total)

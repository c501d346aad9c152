"""CPU time by thread, from /proc/PID/task/*/schedstat: what a process does beside its work, as a JVM its compiling, shows here."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from sentra_sim.units import NS_PER_S

PROC = Path("/proc")
SWITCHES = ("voluntary", "involuntary")
_NUMBERING = re.compile(r"[-_# ]*\d+$")


@dataclass(frozen=True)
class ThreadUse:
    """What a thread has had so far: seconds on a core, seconds waiting for one, and how often it was put on one."""

    cpu_s: float
    run_delay_s: float
    runs: int = 0


def thread_uses(pid: int) -> dict[int, ThreadUse]:
    """Returns the use of every living thread by its id; empty where the kernel does not say."""
    found = {}
    for file in (PROC / str(pid) / "task").glob("*/schedstat"):
        try:
            cpu_ns, delay_ns, runs = (int(word) for word in file.read_bytes().split()[:3])
        except (OSError, ValueError):
            continue  # the thread has ended meanwhile
        found[int(file.parent.name)] = ThreadUse(cpu_ns / NS_PER_S, delay_ns / NS_PER_S, runs)
    return found


def thread_switches(pid: int, thread: int) -> tuple[int, int]:
    """Returns how often a thread gave its core up to wait, and how often it was taken from it; zeros when it has ended."""
    try:
        status = (PROC / str(pid) / "task" / str(thread) / "status").read_bytes()
        _, waits, taken = status.rsplit(b"voluntary_ctxt_switches:", 2)
        return int(waits.split(None, 1)[0]), int(taken)
    except (OSError, ValueError):
        return 0, 0


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
        self._runs: dict[tuple[int, int], int] = {}
        self._switches: dict[tuple[int, int], tuple[int, int]] = {}

    def add(self, pid: int, uses: dict[int, ThreadUse]) -> None:
        """Counts what the threads of a process did since the last call."""
        for thread, use in uses.items():
            key = (pid, thread)
            if key not in self._groups:
                self._groups[key] = thread_group(pid, thread)
            last = self._last.get(key, 0.0)
            self._total[self._groups[key]] += use.cpu_s - last if use.cpu_s >= last else use.cpu_s  # an id used again
            self._last[key] = use.cpu_s
            if use.runs != self._runs.get(key):  # a thread that slept through has nothing new to tell
                self._runs[key] = use.runs
                self._switches[key] = max(self._switches.get(key, (0, 0)), thread_switches(pid, thread))

    def switches(self) -> tuple[int, int]:
        """Returns the context switches until now, voluntary and involuntary."""
        waits, taken = zip(*self._switches.values(), strict=True) if self._switches else ((), ())
        return sum(waits), sum(taken)

    def total(self) -> dict[str, float]:
        """Returns the seconds by group until now."""
        return dict(self._total)

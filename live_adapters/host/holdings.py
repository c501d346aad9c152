"""What processes hold, from /proc: resident memory and open descriptors."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sentra_sim.units import NS_PER_S

PROC = Path("/proc")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
COUNT_FDS_EVERY_S = 5.0  # a JVM has hundreds, and listing them costs the kernel a lookup each

Series = NDArray[np.float64]


def resident_bytes(pid: int) -> int:
    """Returns a process's resident memory; pages shared with others count in full, as in Prometheus' own collector.

    Raises:
        OSError: there is no such process.
    """
    return _pages(pid)[1] * PAGE_BYTES


def private_bytes(pid: int) -> int:
    """Returns a process's resident memory without that of files and of what it shares with others: where a leak shows.

    Raises:
        OSError: there is no such process.
    """
    _, resident, shared = _pages(pid)
    return (resident - shared) * PAGE_BYTES


def _pages(pid: int) -> tuple[int, int, int]:
    """Returns a process's pages: of its address space, resident, and of those backed by files or shared."""
    # A third of what a Path costs, and it is once a second and process.
    file = os.open(f"/proc/{pid}/statm", os.O_RDONLY)
    try:
        size, resident, shared = os.read(file, 100).split()[:3]
    finally:
        os.close(file)
    return int(size), int(resident), int(shared)


def open_fds(pid: int) -> int:
    """Returns how many descriptors a process has open.

    Raises:
        OSError: there is no such process, or it is another user's.
    """
    return sum(1 for _ in (PROC / str(pid) / "fd").iterdir())


class HoldingAccount:
    """What the processes of one name held together at each sample."""

    def __init__(self) -> None:
        self._bytes: list[tuple[int, float]] = []  # (time in ns, value)
        self._private: list[tuple[int, float]] = []
        self._fds: list[tuple[int, float]] = []

    def sample(self, pids: Sequence[int], now_ns: int) -> None:
        """Looks at the processes; descriptors are counted every few seconds only."""
        self._bytes.append((now_ns, _sum(resident_bytes, pids)))
        self._private.append((now_ns, _sum(private_bytes, pids)))
        if not self._fds or now_ns - self._fds[-1][0] >= (COUNT_FDS_EVERY_S - 0.5) * NS_PER_S:
            self._fds.append((now_ns, _sum(open_fds, pids)))

    def resident_bytes(self, epoch_ns: int, seconds: int) -> Series:
        """Returns bytes at the end of each whole second since the epoch, shape (seconds,); NaN without a process."""
        return _held(self._bytes, epoch_ns, seconds)

    def private_bytes(self, epoch_ns: int, seconds: int) -> Series:
        """Returns those of `resident_bytes` that it shares with no one, shape (seconds,)."""
        return _held(self._private, epoch_ns, seconds)

    def open_fds(self, epoch_ns: int, seconds: int) -> Series:
        """Returns descriptors at the end of each whole second since the epoch, shape (seconds,), as last counted."""
        return _held(self._fds, epoch_ns, seconds)


def _sum(held: Callable[[int], int], pids: Sequence[int]) -> float:
    found = []
    for pid in pids:
        try:
            found.append(held(pid))
        except (FileNotFoundError, ProcessLookupError):
            continue  # ended meanwhile
        except OSError:
            return np.nan  # a part of it would look like the whole
    return float(sum(found)) if found else np.nan


def _held(samples: Sequence[tuple[int, float]], epoch_ns: int, seconds: int) -> Series:
    """Each second has the last sample before its end; NaN before the first."""
    times, values = np.array([at for at, _ in samples]), np.array([np.nan, *(value for _, value in samples)])
    ends = epoch_ns + np.arange(1, seconds + 1) * NS_PER_S
    return np.asarray(values[np.searchsorted(times, ends, side="right")])

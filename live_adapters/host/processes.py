"""CPU time and memory by process, from /proc: sampled about once a second, put on the whole seconds of a run afterwards."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from live_adapters.host.holdings import HoldingAccount
from live_adapters.host.threads import SWITCHES, ThreadAccount, thread_uses
from sentra_sim.records import CpuSeries
from sentra_sim.units import NS_PER_S

PROC = Path("/proc")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
SAMPLE_S = 1.0
BUSY_CORES = 0.005  # a group of threads that did less than this on average is left out

Ids = Mapping[str, Sequence[int]]  # process ids by name; each stands for itself and its descendants


@dataclass(frozen=True)
class HostUse:
    """What processes and host did in each whole second since the epoch.

    `cpu`, `run_delay`: seconds by process, on a core and waiting for one. `steal_s`, `busy_s`: CPU seconds of all cores together,
    shape (seconds,). `runnable`: threads running or waiting for a core at the end of the second, shape (seconds,).
    `idle_cores`: cores that each process kept busy at rest, before the load. `threads`: CPU seconds of the groups of threads that
    did the most, by process and group, each of shape (seconds,). `resident_bytes`,
    `private_bytes`, `open_fds`: what a process and its children held at the end of the second, each of shape (seconds,), NaN where there
    was none or the kernel does not say. `switches`: context switches by process and kind, likewise.
    """

    cpu: CpuSeries
    run_delay: CpuSeries
    steal_s: NDArray[np.float64]
    busy_s: NDArray[np.float64]
    runnable: NDArray[np.float64]
    idle_cores: Mapping[str, float]
    threads: Mapping[tuple[str, str], NDArray[np.float64]] = field(default_factory=dict)
    resident_bytes: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    private_bytes: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    open_fds: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    switches: Mapping[tuple[str, str], NDArray[np.float64]] = field(default_factory=dict)

    @property
    def seconds(self) -> int:
        """How many seconds it tells of."""
        return len(self.busy_s)


def cpu_seconds(pid: int) -> float:
    """Returns user and system time of a process, in steps of a clock tick: its threads, and the children it has waited for.

    Raises:
        OSError: there is no such process.
    """
    return sum(int(field) for field in _stat_fields(pid)[11:15]) / TICKS_PER_S


def descendants(pid: int) -> list[int]:
    """Returns a process and everything it started that still runs."""
    found = [pid]
    for parent in found:
        for file in (PROC / str(parent) / "task").glob("*/children"):
            try:
                found += [int(child) for child in file.read_bytes().split()]
            except OSError:
                continue
    return found


def host_times() -> tuple[float, float, int]:
    """Returns steal and busy seconds of all cores since boot, and the number of runnable threads."""
    lines = (PROC / "stat").read_text(encoding="ascii").splitlines()
    user, nice, system, _idle, _wait, irq, soft, steal = (int(word) for word in lines[0].split()[1:9])
    runnable = next((int(line.split()[1]) for line in lines if line.startswith("procs_running ")), 0)
    return steal / TICKS_PER_S, (user + nice + system + irq + soft) / TICKS_PER_S, runnable


def _stat_fields(pid: int) -> list[str]:
    """Returns the fields of /proc/PID/stat from the state on; the name before it may hold spaces and brackets."""
    return (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()


class _Account:
    """CPU and run delay of one name: what its process trees were last seen with, those that have ended included."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, str], tuple[float, float]] = {}
        self.threads = ThreadAccount()
        self.living: list[int] = []  # process ids at the last update

    def update(self, roots: Sequence[int]) -> tuple[float, float]:
        self.living = []
        for root in roots:
            try:
                birth = _stat_fields(root)[19]  # a process id may be used again
            except OSError:
                continue
            self._seen[root, birth] = self._tree(root)
        return sum(cpu for cpu, _ in self._seen.values()), sum(delay for _, delay in self._seen.values())

    def _tree(self, root: int) -> tuple[float, float]:
        """Returns CPU and run delay of a process and its living descendants; a child that ends moves into its parent's time."""
        cpu = delay = 0.0
        for pid in descendants(root):
            try:
                cpu += cpu_seconds(pid)
            except OSError:
                continue
            self.living.append(pid)
            uses = thread_uses(pid)
            self.threads.add(pid, uses)
            delay += sum(use.run_delay_s for use in uses.values())
        return cpu, delay


class CpuSampler:
    """Samples CPU time by name on a thread of its own. `ids` is asked at every sample: processes may be started again."""

    def __init__(self, names: tuple[str, ...], ids: Callable[[], Ids], every_s: float = SAMPLE_S) -> None:
        self._names = names
        self._ids = ids
        self._every_s = every_s
        self._accounts = {name: _Account() for name in names}
        self._times_ns: list[int] = []
        self._cpu: list[list[float]] = []
        self._delay: list[list[float]] = []
        self._threads: list[dict[tuple[str, str], float]] = []
        self._switches: list[list[int]] = []  # of each name the voluntary ones, then the others
        self._host: list[tuple[float, float, int]] = []
        self._holdings = {name: HoldingAccount() for name in names}
        self._idle: dict[str, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cpu-sampler", daemon=True)

    def rest(self, seconds: float) -> None:
        """Watches the processes at rest for a while; call it before `start`, with everything up and no load on it."""
        self.sample()
        time.sleep(seconds)
        self.sample()
        passed_s = (self._times_ns[-1] - self._times_ns[-2]) / NS_PER_S
        used = np.maximum(np.array(self._cpu[-1]) - np.array(self._cpu[-2]), 0.0) / passed_s
        self._idle = dict(zip(self._names, used.tolist(), strict=True))

    def start(self) -> None:
        """Takes the first sample and starts the thread."""
        self.sample()
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread and takes a last sample."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
            self.sample()

    def sample(self) -> None:
        """Takes one sample of everything."""
        ids = self._ids()
        found = [self._accounts[name].update(ids.get(name, ())) for name in self._names]
        self._times_ns.append(time.monotonic_ns())
        self._cpu.append([cpu for cpu, _ in found])
        self._delay.append([delay for _, delay in found])
        totals = {name: account.threads.total() for name, account in self._accounts.items()}
        self._threads.append({(name, group): cpu for name, groups in totals.items() for group, cpu in groups.items()})
        self._switches.append([count for account in self._accounts.values() for count in account.threads.switches()])
        self._host.append(host_times())
        for name, holdings in self._holdings.items():
            holdings.sample(self._accounts[name].living, self._times_ns[-1])

    def use(self, epoch_ns: int, seconds: int) -> HostUse:
        """Returns the samples as sums per whole second since the epoch, interpolated between samples."""
        host = np.array(self._host)
        steal, busy = self._per_second(host[:, :2], epoch_ns, seconds)
        ends = (np.arange(1, seconds + 1) * NS_PER_S).astype(np.float64)
        return HostUse(
            cpu=CpuSeries(self._names, self._per_second(np.array(self._cpu), epoch_ns, seconds)),
            run_delay=CpuSeries(self._names, self._per_second(np.array(self._delay), epoch_ns, seconds)),
            steal_s=steal,
            busy_s=busy,
            runnable=np.interp(ends, np.array(self._times_ns) - float(epoch_ns), host[:, 2]),
            idle_cores=self._idle,
            threads=self._busy_threads(epoch_ns, seconds),
            resident_bytes={name: held.resident_bytes(epoch_ns, seconds) for name, held in self._holdings.items()},
            private_bytes={name: held.private_bytes(epoch_ns, seconds) for name, held in self._holdings.items()},
            open_fds={name: held.open_fds(epoch_ns, seconds) for name, held in self._holdings.items()},
            switches=self._switch_series(epoch_ns, seconds),
        )

    def _switch_series(self, epoch_ns: int, seconds: int) -> dict[tuple[str, str], NDArray[np.float64]]:
        keys = [(name, kind) for name in self._names for kind in SWITCHES]
        if not self._switches:
            return {}
        series = self._per_second(np.array(self._switches, dtype=np.float64), epoch_ns, seconds)
        return dict(zip(keys, series, strict=True))

    def _busy_threads(self, epoch_ns: int, seconds: int) -> dict[tuple[str, str], NDArray[np.float64]]:
        keys = sorted({key for sample in self._threads for key in sample})
        cumulative = np.array([[sample.get(key, 0.0) for key in keys] for sample in self._threads]).reshape(
            -1, len(keys)
        )
        series = self._per_second(cumulative, epoch_ns, seconds) if keys else np.empty((0, seconds))
        return {key: row for key, row in zip(keys, series, strict=True) if row.sum() >= BUSY_CORES * seconds}

    def _per_second(self, cumulative: NDArray[np.float64], epoch_ns: int, seconds: int) -> NDArray[np.float64]:
        """Turns running totals at the sample times, shape (samples, series), into sums per second, (series, seconds)."""
        edges = (np.arange(seconds + 1) * NS_PER_S).astype(np.float64)
        at = np.array([time_ns - epoch_ns for time_ns in self._times_ns], dtype=np.float64)
        totals = np.array([np.interp(edges, at, series) for series in cumulative.T])
        # A total drops when a thread ends and takes its account along; nothing was given back then.
        return np.asarray(np.maximum(np.diff(totals, axis=1), 0.0))

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            self.sample()

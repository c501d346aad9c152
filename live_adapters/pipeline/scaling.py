"""Workers of a running pipeline, more or fewer of them: whoever goes drains and leaves its partitions to the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from live_adapters.pipeline.hoplog import replica_number
from live_adapters.pipeline.supervisor import Supervisor
from sentra_sim.errors import InputError

WORKER = "worker"
MODULE = "live_adapters.pipeline.worker"


def worker_names(count: int) -> list[str]:
    """Returns the process names of so many workers.

    >>> worker_names(2)
    ['worker-1', 'worker-2']
    """
    return [f"{WORKER}-{number}" for number in range(1, count + 1)]


def worker_modules(count: int) -> dict[str, str]:
    """Returns the module by process name of so many workers, as `Supervisor.start` takes them."""
    return dict.fromkeys(worker_names(count), MODULE)


def workers_of(names: Iterable[str]) -> list[str]:
    """Returns those of the processes that are workers, the last one started last."""
    return sorted((name for name in names if station_of(name) == WORKER), key=replica_number)


def station_of(name: str) -> str:
    """Returns the scenario's station of a process; a worker's replicas are one station.

    >>> station_of("worker-2"), station_of("kafka-2")
    ('worker', 'kafka-2')
    """
    base, _, number = name.rpartition("-")
    return WORKER if base == WORKER and number.isdecimal() else name


def pids_by_station(pids: Mapping[str, int]) -> dict[str, list[int]]:
    """Groups process ids by process name into those of each station."""
    found: dict[str, list[int]] = {}
    for name, pid in pids.items():
        found.setdefault(station_of(name), []).append(pid)
    return found


def set_workers(supervisor: Supervisor, count: int, *, most: int, restarts: int = 0) -> None:
    """Starts or stops workers until so many run; returns when those started own partitions and those stopped have left.

    Args:
        supervisor: Of the running pipeline.
        count: Workers to run.
        most: How many there may be: the topic's partitions, of which each worker owns one at least.
        restarts: How often each one started may be started again when it dies.

    Raises:
        InputError: the count is not from 1 to `most`.
        PlantError: one did not start, or did not drain.
    """
    if not 1 <= count <= most:
        raise InputError(f"workers: must be from 1 to {most}, one a partition at most, got {count}; add partitions")
    running = workers_of(supervisor.pids())
    for name in reversed(running[count:]):
        supervisor.stop(name)
    free = [name for name in worker_names(count + len(running)) if name not in running]
    new = free[: max(0, count - len(running))]
    if new:
        supervisor.start(dict.fromkeys(new, MODULE), restarts=dict.fromkeys(new, restarts))

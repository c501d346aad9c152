"""Changes to hosts and processes: which there are, and whether a scenario has what they are about."""

from __future__ import annotations

from collections.abc import Sequence

from sentra_sim.engine.cgroups import cgroups_of, neighbour_of
from sentra_sim.errors import InputError
from sentra_sim.scenario import ConsumerGroup, Scenario, only, processes

ON_PROCESSES = ("pause", "resume", "restart")
ON_HOSTS = ("host-down", "host-up", "speed", "neighbour", "slow", "lossy")


def subjects(scenario: Scenario, operation: str, subject: str) -> Sequence[int]:
    """Returns the numbers of what a change is about: cgroups, or a host."""
    if operation in ON_PROCESSES:
        return cgroups_of(scenario, subject)
    if operation == "neighbour":
        return [neighbour_of(scenario, subject)]
    return [list(scenario.hosts).index(subject)]


def check_host_change(scenario: Scenario, operation: str, subject: str, value: float) -> None:
    """Checks that a scenario has the process or the host that a change is about.

    Raises:
        InputError: it has not, or the value is out of range.
    """
    if operation in ON_PROCESSES and not cgroups_of(scenario, subject):
        group = only(scenario, ConsumerGroup)[0]
        names = ", ".join(processes(scenario))
        raise InputError(
            f"{operation}: must be of a process, got {subject!r}; valid names: {names}, and {group}/1 for one replica"
        )
    if operation in ON_HOSTS and subject not in scenario.hosts:
        raise InputError(f"{operation}: must be of a host, got {subject!r}; valid names: {', '.join(scenario.hosts)}")
    if operation == "speed" and not 0.0 < value < float("inf"):
        raise InputError(f"speed: {subject}: must be a factor > 0, got {value}; a host that does nothing is host-down")
    if operation == "slow" and not 0.0 <= value < float("inf"):
        raise InputError(f"slow: {subject}: must be s >= 0, got {value}; 0 is as fast as it can be")
    if operation == "lossy" and not 0.0 <= value < 1.0:
        raise InputError(f"lossy: {subject}: must be a probability >= 0 and < 1, got {value}; 0 loses nothing")
    if operation == "neighbour" and scenario.hosts[subject].neighbour is None:
        raise InputError(f"neighbour: must be of a host that has one, got {subject!r}; write hosts.{subject}.neighbour")

"""Changes to processes and hosts: what they are about, and whether a scenario has it."""

from __future__ import annotations

import math

from sentra_sim.engine.actors import brokers, consumers
from sentra_sim.engine.cgroups import cgroups_of
from sentra_sim.engine.changes import Change
from sentra_sim.errors import InputError
from sentra_sim.scenario import ConsumerGroup, Log, Scenario, only, processes


def falls_with(scenario: Scenario, host: str) -> list[str]:
    """Returns what a host takes along of all that a `kill` can be of: its brokers, its consumers, its stations with recovery."""
    log, group = only(scenario, Log)[1], only(scenario, ConsumerGroup)[1]
    recover = [name for name, station in scenario.stations.items() if getattr(station, "recovery", None) is not None]
    return [
        *(brokers(scenario) if log.host == host else ()),
        *(consumers(scenario) if group.host == host else ()),
        *(name for name in recover if scenario.stations[name].host == host),
    ]


def check_process(scenario: Scenario, change: Change) -> None:
    """Checks that a scenario has the process that a change is about.

    Raises:
        InputError: it has not.
    """
    if not cgroups_of(scenario, change.subject):
        group = only(scenario, ConsumerGroup)[0]
        names = ", ".join(processes(scenario))
        raise InputError(
            f"{change.operation}: must be of a process, got {change.subject!r}; valid names: {names}, "
            f"and {group}-1 for one consumer"
        )


def check_host(scenario: Scenario, change: Change) -> None:
    """Checks that a scenario has the host that a change is about.

    Raises:
        InputError: it has not, or the value is out of range.
    """
    operation, subject, value = change.operation, change.subject, change.value
    if subject not in scenario.hosts:
        raise InputError(f"{operation}: must be of a host, got {subject!r}; valid names: {', '.join(scenario.hosts)}")
    if operation == "speed" and not 0.0 < value < math.inf:
        raise InputError(f"speed: {subject}: must be a factor > 0, got {value}; a host that does nothing is host-down")
    if operation == "slow" and not 0.0 <= value < math.inf:
        raise InputError(f"slow: {subject}: must be s >= 0, got {value}; 0 is as fast as it can be")
    if operation == "lossy" and not 0.0 <= value < 1.0:
        raise InputError(f"lossy: {subject}: must be a probability >= 0 and < 1, got {value}; 0 loses nothing")
    if operation == "neighbour" and scenario.hosts[subject].neighbour is None:
        raise InputError(f"neighbour: must be of a host that has one, got {subject!r}; write hosts.{subject}.neighbour")

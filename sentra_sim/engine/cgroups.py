"""What is stopped and limited together: the threads of one process, as a Linux cgroup holds them."""

from __future__ import annotations

from typing import NamedTuple

from sentra_sim.engine.actors import consumers
from sentra_sim.engine.owners import broker_name, host_owner, replica_name
from sentra_sim.engine.trace import process_hosts
from sentra_sim.scenario import Broadcast, ConsumerGroup, Log, Scenario, only, processes


class Cgroup(NamedTuple):
    """The threads of one broker, of one replica of a consumer group, of a subscriber, or of all else that a station runs.

    `owner` is who draws for it, `process` the number of its account of CPU. `own` tells whether the station's settings are
    about it: a subscriber is somebody else's, and so is a host's neighbour, whose account comes after those of the processes.
    """

    owner: str
    station: str
    process: int
    host: str
    own: bool = True


def cgroups(scenario: Scenario) -> tuple[Cgroup, ...]:
    """Returns all of a scenario, in the order of `processes`, a consumer group's replicas each; then the hosts' neighbours."""
    hosts, found = process_hosts(scenario), list[Cgroup]()
    process = 0
    for name, station in scenario.stations.items():
        if isinstance(station, ConsumerGroup):
            owners = [replica_name(name, number) for number in range(station.most_replicas)]
            found.extend(Cgroup(owner, name, process, hosts[process]) for owner in owners)
            process += 1
            continue
        owners = (
            [broker_name(name, number) for number in range(station.brokers)] if isinstance(station, Log) else [name]
        )
        owners.extend([f"{name}/subscriber"] if isinstance(station, Broadcast) else [])
        for owner in owners:
            found.append(Cgroup(owner, name, process, hosts[process], owner != f"{name}/subscriber"))
            process += 1
    for name, host in scenario.hosts.items():
        if host.neighbour:
            found.append(Cgroup(host_owner(name), "", process, name, own=False))
            process += 1
    return tuple(found)


def cgroups_of(scenario: Scenario, subject: str) -> list[int]:
    """Returns the numbers of those that a process's name, or a consumer's as in `worker-2`, stands for; none if it is neither."""
    names, all_consumers = processes(scenario), consumers(scenario)
    process = names.index(subject) if subject in names else -1
    group = only(scenario, ConsumerGroup)[0]
    owner = replica_name(group, all_consumers.index(subject)) if subject in all_consumers else ""
    return [
        number for number, cgroup in enumerate(cgroups(scenario)) if cgroup.process == process or cgroup.owner == owner
    ]


def neighbour_of(scenario: Scenario, host: str) -> int:
    """Returns the number of the neighbour on a host that has one."""
    return [cgroup.owner for cgroup in cgroups(scenario)].index(host_owner(host))


def accounts(scenario: Scenario) -> int:
    """Returns how many accounts of CPU there are, with those of neighbours."""
    return cgroups(scenario)[-1].process + 1


def first_cgroups(scenario: Scenario) -> list[int]:
    """Returns the number of each process's first one, in the order of `processes`."""
    holders = [cgroup.process for cgroup in cgroups(scenario)]
    return [holders.index(process) for process in range(len(processes(scenario)))]

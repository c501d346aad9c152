"""Who makes a change: what it is about decides, where several kinds of things know the same operation."""

from __future__ import annotations

from typing import Literal

from sentra_sim.engine.changes import Change, Operation
from sentra_sim.scenario import Batcher, ConsumerGroup, Log, Pool, Scenario, Store, only

Actor = Literal["works", "release", "calls", "group", "consumer", "broker", "process", "host", "station", "poison"]

# Operations that one kind of thing alone knows.
ONLY: dict[Operation, Actor] = {
    "demand": "works",
    "weight": "release",
    "failure": "calls",
    "replicas": "group",
    "partition": "broker",
    "heal": "broker",
    "restart": "process",
    "speed": "host",
    "host-down": "host",
    "host-up": "host",
    "neighbour": "host",
    "lossy": "host",
    "store-replicas": "station",
    "slow-clients": "station",
    "poison": "poison",
}


def actor_of(scenario: Scenario, change: Change) -> Actor:
    """Returns who makes a change; whether a scenario has its subject is not looked at."""
    if change.operation in ONLY:
        return ONLY[change.operation]
    if change.operation != "stop" and broker_number(scenario, change.subject) >= 0:
        return "broker"
    if change.operation == "slow":
        return "host"
    if consumer_numbers(scenario, change.subject):
        return "consumer"
    if change.operation in ("pause", "resume"):
        return "process"
    return "release" if "/" in change.subject and change.operation != "stop" else "station"


def drains(scenario: Scenario) -> list[str]:
    """Returns the stations that can be stopped in order: the batcher, pools and stores, those with `recovery`."""
    stations = scenario.stations.items()
    return [name for name, spec in stations if isinstance(spec, Batcher | Pool | Store) and spec.recovery is not None]


def brokers(scenario: Scenario) -> list[str]:
    """Returns the names of all brokers."""
    name, log = only(scenario, Log)
    return [f"{name}-{number + 1}" for number in range(log.brokers)]


def broker_number(scenario: Scenario, subject: str) -> int:
    """Returns the number, from 0, of the broker called so, -1 if there is none."""
    names = brokers(scenario)
    return names.index(subject) if subject in names else -1


def consumers(scenario: Scenario) -> list[str]:
    """Returns the names of all consumers that may run."""
    name, group = only(scenario, ConsumerGroup)
    return [f"{name}-{number + 1}" for number in range(group.most_replicas)]


def consumer_numbers(scenario: Scenario, subject: str) -> list[int]:
    """Returns the numbers, from 0, of the consumers that a name stands for: one, all of the group, or none."""
    names = consumers(scenario)
    if subject == only(scenario, ConsumerGroup)[0]:
        return list(range(len(names)))
    return [names.index(subject)] if subject in names else []

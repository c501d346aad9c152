"""Checks of changes: whether a scenario has what a change is about, and whether its value is in range."""

from __future__ import annotations

import math
from collections.abc import Callable

from sentra_sim.engine.actors import Actor, actor_of, broker_number, brokers, consumer_numbers, consumers, drains
from sentra_sim.engine.changes import Change
from sentra_sim.engine.host_changes import check_host, check_process
from sentra_sim.errors import InputError
from sentra_sim.scenario import Broadcast, ConsumerGroup, Pool, Scenario, Store, only
from sentra_sim.scenario.schema import AnyStation


def check_change(scenario: Scenario, change: Change) -> None:
    """Checks that a scenario has what a change is about.

    Raises:
        InputError: it has not, or the value is out of range.
    """
    CHECKS[actor_of(scenario, change)](scenario, change)


def _check_demand(scenario: Scenario, change: Change) -> None:
    if change.subject not in scenario.stations:
        names = ", ".join(scenario.stations)
        raise InputError(f"demand: must be of a station, got {change.subject!r}; valid names: {names}")
    if not change.value >= 0.0:
        raise InputError(f"demand: {change.subject}: must be a factor >= 0, got {change.value}; 1 changes nothing")


def _check_release(scenario: Scenario, change: Change) -> None:
    pools = {name: pool for name, pool in scenario.stations.items() if isinstance(pool, Pool)}
    names = [f"{name}/{release}" for name, pool in pools.items() for release in pool.releases]
    if change.subject not in names:
        remedy = f"valid names: {', '.join(names)}" if names else "add releases to a pool"
        raise InputError(f"{change.operation}: must be of a release, got {change.subject!r}; {remedy}")
    if change.operation == "kill":
        raise InputError(f"kill: must not be of a release, got {change.subject!r}; weight 0 takes it out of service")
    if not 0.0 <= change.value <= 1.0:
        raise InputError(
            f"{change.operation}: {change.subject}: must be from 0 to 1, got {change.value}; 0 takes it out of service"
        )


def _check_failure(scenario: Scenario, change: Change) -> None:
    if getattr(scenario.stations.get(change.subject), "failure", None) is None:
        raise InputError(
            f"failure: must be of a station that sets failure, got {change.subject!r}; write failure: 0 in the scenario"
        )
    if not 0.0 <= change.value <= 1.0:
        raise InputError(f"failure: {change.subject}: must be from 0 to 1, got {change.value}; 0 lets no call fail")


def _check_replicas(scenario: Scenario, change: Change) -> None:
    name, group = only(scenario, ConsumerGroup)
    if change.subject != name:
        raise InputError(f"replicas: must be of the consumer group, got {change.subject!r}; write {name!r}")
    if change.value not in range(group.most_replicas + 1):
        raise InputError(
            f"replicas: {name}: must be a whole number from 0 to {group.most_replicas}, got {change.value:g}; "
            "for more set max_replicas"
        )


def _check_poison(scenario: Scenario, change: Change) -> None:
    name, group = only(scenario, ConsumerGroup)
    if change.subject != name or group.poison_share is None:
        raise InputError(
            f"poison: must be of a consumer group that sets poison_share, got {change.subject!r}; write poison_share: 0 in {name!r}"
        )
    if not 0.0 <= change.value <= 1.0:
        raise InputError(
            f"poison: {name}: must be a share from 0 to 1, got {change.value}; 0.01 spoils one event in 100"
        )


def _check_consumer(scenario: Scenario, change: Change) -> None:
    if not consumer_numbers(scenario, change.subject):
        names = ", ".join(consumers(scenario))
        raise InputError(
            f"{change.operation}: must be of a consumer, one of {names}, got {change.subject!r}; for more set max_replicas"
        )


def _check_station(scenario: Scenario, change: Change) -> None:
    station = scenario.stations.get(change.subject)
    match change.operation:
        case "store-replicas":
            _check_store_replicas(change, station)
        case "slow-clients":
            _check_slow_clients(change, station)
        case "stop":
            _check_stop(scenario, change)
        case _:
            _check_killable(scenario, change)


def _check_killable(scenario: Scenario, change: Change) -> None:
    recover = [name for name, station in scenario.stations.items() if getattr(station, "recovery", None) is not None]
    if change.subject not in recover:
        names = ", ".join([*brokers(scenario), *consumers(scenario), *recover])
        raise InputError(
            f"{change.operation}: must be of a broker, a consumer or a station with recovery, got {change.subject!r}; "
            f"valid names: {names}"
        )


def _check_stop(scenario: Scenario, change: Change) -> None:
    if change.subject not in drains(scenario):
        names = ", ".join([*consumers(scenario), *drains(scenario)])
        raise InputError(
            f"stop: must be of a consumer, one of {names}, got {change.subject!r}; for more set max_replicas, "
            "or recovery of a batcher, pool or store"
        )


def _check_store_replicas(change: Change, station: AnyStation | None) -> None:
    most = station.most_replicas if isinstance(station, Store) and station.is_columnar else 0
    if not (1 <= change.value <= most and change.value == int(change.value)):
        raise InputError(
            f"store-replicas: {change.subject}: must be a whole number from 1 to max_replicas ({most}), "
            f"got {change.value}; raise the store's max_replicas"
        )


def _check_slow_clients(change: Change, station: AnyStation | None) -> None:
    if not isinstance(station, Broadcast) or station.subscribers is None:
        raise InputError(
            f"slow-clients: must be of a broadcast with subscribers, got {change.subject!r}; add subscribers to one"
        )
    if not 0.0 <= change.value <= 1.0:
        raise InputError(
            f"slow-clients: {change.subject}: must be a share from 0 to 1, got {change.value}; 0.1 makes a tenth slow"
        )


def _check_broker(scenario: Scenario, change: Change) -> None:
    if broker_number(scenario, change.subject) < 0:
        names = ", ".join(brokers(scenario))
        raise InputError(f"{change.operation}: must be of a broker, got {change.subject!r}; valid names: {names}")
    if change.operation == "slow" and not 0.0 <= change.value < math.inf:
        raise InputError(f"slow: {change.subject}: must be a latency >= 0 s, got {change.value}; 0 changes nothing")


CHECKS: dict[Actor, Callable[[Scenario, Change], None]] = {
    "works": _check_demand,
    "release": _check_release,
    "calls": _check_failure,
    "group": _check_replicas,
    "consumer": _check_consumer,
    "broker": _check_broker,
    "process": check_process,
    "host": check_host,
    "station": _check_station,
    "poison": _check_poison,
}

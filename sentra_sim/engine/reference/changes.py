"""What changes do in the reference engine: who makes them."""

from __future__ import annotations

from typing import Protocol

from sentra_sim.engine.actors import actor_of, broker_number, consumer_numbers, consumers
from sentra_sim.engine.cgroups import cgroups_of
from sentra_sim.engine.changes import Change
from sentra_sim.engine.host_changes import falls_with
from sentra_sim.engine.reference.consumers import ConsumerModel
from sentra_sim.engine.reference.host_changes import change_host, change_process
from sentra_sim.engine.reference.log import LogModel
from sentra_sim.engine.reference.membership import Membership
from sentra_sim.engine.reference.world import Weighted, World
from sentra_sim.scenario import Batcher


class Pipeline(Protocol):
    """What changes are made to."""

    world: World
    consumers: ConsumerModel
    log: LogModel


def apply_change(simulation: Pipeline, change: Change) -> None:
    """Makes a change that has been checked."""
    world, scenario = simulation.world, simulation.world.scenario
    match actor_of(scenario, change):
        case "works":
            world.factor[change.subject] = change.value
        case "release":
            assert world.releases is not None  # held by check_change
            _change_release(world.releases, change)
        case "calls":
            world.failure[change.subject] = change.value
        case "group":
            simulation.consumers.membership.scale(int(change.value))
        case "consumer":
            for number in consumer_numbers(scenario, change.subject):
                _change_consumer(simulation.consumers.membership, change, number)
        case "broker":
            simulation.log.cluster.apply(change.operation, broker_number(scenario, change.subject), change.value)
        case "process":
            for number in cgroups_of(scenario, change.subject):
                change_process(world.cgroups[number], change)
        case "host":
            _change_host(simulation, change)
        case "poison":
            world.poison.share = change.value
        case "station":
            _change_station(world, change)


def _change_host(simulation: Pipeline, change: Change) -> None:
    """Makes a change of a host; one that goes down takes along what runs there, which starts again with it."""
    world, host = simulation.world, change.subject
    if change.operation == "host-down" and not world.hosts[host].down:
        membership, scenario = simulation.consumers.membership, world.scenario
        idle = [name for number, name in enumerate(consumers(scenario)) if not membership.runs(number)]
        world.felled[host] = [subject for subject in falls_with(scenario, host) if subject not in idle]
        for subject in world.felled[host]:
            apply_change(simulation, Change(change.at_s, "kill", subject))
    change_host(world, change)
    if change.operation == "host-up":
        for subject in world.felled.pop(host, ()):
            apply_change(simulation, Change(change.at_s, "start", subject))


def _change_station(world: World, change: Change) -> None:
    if change.operation in ("kill", "start") and not isinstance(world.scenario.stations[change.subject], Batcher):
        for number in cgroups_of(world.scenario, change.subject):
            world.cgroups[number].renew()
    world.stores[change.subject].change(change.operation, change.value)


def _change_release(releases: Weighted, change: Change) -> None:
    release = change.subject.partition("/")[2]
    if change.operation == "weight":
        releases.set_weight(release, change.value)
    else:
        releases.begin(release)


def _change_consumer(membership: Membership, change: Change, number: int) -> None:
    match change.operation:
        case "kill":
            membership.kill(number)
        case "start":
            membership.start(number)
        case "stop":
            membership.stop(number)
        case "pause":
            membership.pause(number)
        case "resume":
            membership.resume(number)

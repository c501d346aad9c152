"""What changes do in the compiled engine: who makes them."""

from __future__ import annotations

from typing import Any

import numba

from sentra_sim.engine.actors import actor_of, broker_number, consumer_numbers, consumers
from sentra_sim.engine.cgroups import cgroups_of, neighbour_of
from sentra_sim.engine.changes import Change
from sentra_sim.engine.compiled.cluster import OPERATIONS as BROKER_OPERATIONS
from sentra_sim.engine.compiled.cluster import change_broker
from sentra_sim.engine.compiled.edge import kill_edge, start_edge
from sentra_sim.engine.compiled.freezer import renew
from sentra_sim.engine.compiled.gateway import kill_gateway, start_gateway, stop_gateway
from sentra_sim.engine.compiled.host_changes import OPERATIONS as HOST_OPERATIONS
from sentra_sim.engine.compiled.host_changes import change_host
from sentra_sim.engine.compiled.membership import kill, pause, resume, runs, scale, start, stop
from sentra_sim.engine.compiled.subscribers import set_slow_share
from sentra_sim.engine.compiled.tables import Tables
from sentra_sim.engine.compiled.transactions import kill_store, start_store, stop_store
from sentra_sim.engine.host_changes import falls_with
from sentra_sim.engine.plan import Plan
from sentra_sim.scenario import Batcher
from sentra_sim.scenario.keys import PLACES

CONSUMER_OPERATIONS = ("kill", "start", "stop", "pause", "resume", "replicas")
KILL, START, STOP, PAUSE, RESUME, REPLICAS = range(len(CONSUMER_OPERATIONS))


def apply_change(plan: Plan, tables: Tables, change: Change) -> None:
    """Makes a change that has been checked."""
    scenario, state = plan.scenario, tables.state
    match actor_of(scenario, change):
        case "works":
            tables.arrays["works"]["factor"][tables.works_of[change.subject]] = change.value
        case "release":
            _change_release(tables, tables.release_rows[change.subject], change)
        case "calls":
            tables.arrays["stations"]["failure"][tables.station_rows[change.subject]] = change.value
        case "group":
            change_group(state, REPLICAS, int(change.value))
        case "consumer":
            for number in consumer_numbers(scenario, change.subject):
                change_group(state, CONSUMER_OPERATIONS.index(change.operation), number)
        case "broker":
            operation = BROKER_OPERATIONS.index(change.operation)
            change_broker(state, operation, broker_number(scenario, change.subject), float(change.value))
        case "process":
            for number in cgroups_of(scenario, change.subject):
                change_host(state, HOST_OPERATIONS.index(change.operation), number, 0.0)
        case "host":
            _change_host(plan, tables, change)
        case "poison":
            state["poison_share"] = change.value
        case "station":
            _change_station(plan, tables, change)


def _change_host(plan: Plan, tables: Tables, change: Change) -> None:
    """Makes a change of a host; one that goes down takes along what runs there, which starts again with it."""
    scenario, host = plan.scenario, change.subject
    number = list(scenario.hosts).index(host)
    if change.operation == "neighbour":
        number = neighbour_of(scenario, host)
    if change.operation == "host-down" and not tables.arrays["hosts"]["down"][number]:
        idle = [name for at, name in enumerate(consumers(scenario)) if not consumer_runs(tables.state, at)]
        tables.felled[host] = [subject for subject in falls_with(scenario, host) if subject not in idle]
        for subject in tables.felled[host]:
            apply_change(plan, tables, Change(change.at_s, "kill", subject))
    change_host(tables.state, HOST_OPERATIONS.index(change.operation), number, float(change.value))
    if change.operation == "host-up":
        for subject in tables.felled.pop(host, ()):
            apply_change(plan, tables, Change(change.at_s, "start", subject))


@numba.njit(cache=True, error_model="numpy")
def consumer_runs(tables: Any, number: int) -> bool:
    """Tells whether a consumer runs or is about to."""
    return bool(runs(tables[0], number))


@numba.njit(cache=True, error_model="numpy")
def change_group(tables: Any, operation: int, number: int) -> None:
    """Makes the change with the number of an operation to a consumer, or lets as many run."""
    sim = tables[0]
    if operation == KILL:
        kill(sim, number)
    elif operation == START:
        start(sim, number)
    elif operation == STOP:
        stop(sim, number)
    elif operation == PAUSE:
        pause(sim, number)
    elif operation == RESUME:
        resume(sim, number)
    else:
        scale(sim, number)


def _change_station(plan: Plan, tables: Tables, change: Change) -> None:
    if change.operation == "store-replicas":
        tables.tally_row(change.subject)["active"] = int(change.value)
        return
    if isinstance(plan.scenario.stations[change.subject], Batcher):
        change_gateway(tables.state, CONSUMER_OPERATIONS.index(change.operation))
        return
    number = tables.store_of[change.subject]
    if change.operation == "slow-clients":
        slow_clients(tables.state, number, float(change.value))
        return
    if change.operation == "stop":
        drain_store(tables.state, number)
        return
    if change.operation in ("kill", "start"):
        for cgroup in cgroups_of(plan.scenario, change.subject):
            renew_process(tables.state, cgroup)
    is_edge = tables.kind_of[change.subject] == "edges"
    switch_station(tables.state, number, int(change.operation == "start"), int(is_edge))


@numba.njit(cache=True, error_model="numpy")
def renew_process(tables: Any, number: int) -> None:
    """Lets a new process begin, whose jobs have been given up."""
    renew(tables[0], number)


@numba.njit(cache=True, error_model="numpy")
def switch_station(tables: Any, number: int, on: int, is_edge: int) -> None:
    """Kills a store or an edge, or starts it again."""
    sim = tables[0]
    if is_edge and on:
        start_edge(sim, number)
    elif is_edge:
        kill_edge(sim, number)
    elif on:
        start_store(sim, number)
    else:
        kill_store(sim, number)


@numba.njit(cache=True, error_model="numpy")
def drain_store(tables: Any, number: int) -> None:
    """Stops a store in order."""
    stop_store(tables[0], number)


@numba.njit(cache=True, error_model="numpy")
def change_gateway(tables: Any, operation: int) -> None:
    """Stops the gateway in order, kills it, or starts it again."""
    sim = tables[0]
    if operation == STOP:
        stop_gateway(sim)
    elif operation == KILL:
        kill_gateway(sim)
    else:
        start_gateway(sim)


@numba.njit(cache=True, error_model="numpy")
def slow_clients(tables: Any, number: int, share: float) -> None:
    """Sets how many subscribers of an edge are slow."""
    set_slow_share(tables[0], number, share)


def _change_release(tables: Tables, number: int, change: Change) -> None:
    release, state = tables.arrays["releases"][number], tables.state
    if change.operation == "start":
        release["begun"], release["started"], release["worked"] = 1, state["now"][0], 0
        return
    release["threshold"] = round(change.value * PLACES)
    if change.value > 0.0:
        state["canary"] = number
        if not release["begun"]:
            release["begun"], release["started"] = 1, state["now"][0]
    elif state["canary"][0] == number:
        state["canary"] = -1

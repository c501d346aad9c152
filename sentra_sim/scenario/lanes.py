"""Lanes of the log: which tenant has which, which partitions are whose, and what lanes must not be."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from sentra_sim.errors import ScenarioError
from sentra_sim.scenario.groups import ConsumerGroup
from sentra_sim.scenario.keys import partition_of, tenant_of
from sentra_sim.scenario.logs import Lane, Log


def route(keys: NDArray[np.uint32], log: Log, tenants: int) -> NDArray[np.int16]:
    """Returns the partition of each key, shape of `keys`: in a log with lanes one of its tenant's lane.

    >>> from sentra_sim.scenario.logs import Lane
    >>> gold, rest = Lane(name="gold", partitions=2, tenants=(0,)), Lane(name="rest", partitions=4)
    >>> log = Log(kind="log", host="box", to="group", lanes=(gold, rest))
    >>> route(np.arange(6, dtype=np.uint32), log, tenants=2).tolist()
    [0, 3, 1, 3, 0, 2]
    """
    if not log.lanes:
        return partition_of(keys, log.partitions)
    lane = np.array(lanes_of_tenants(log.lanes, tenants))[tenant_of(keys, tenants)]
    sizes = np.array([each.partitions for each in log.lanes], dtype=np.uint64)
    return np.asarray(first_partitions(log.lanes)[lane] + partition_of(keys, sizes[lane]), dtype=np.int16)


def lanes_of_tenants(lanes: Sequence[Lane], tenants: int) -> list[int]:
    """Returns the number of each tenant's lane."""
    rest = next((number for number, lane in enumerate(lanes) if lane.tenants is None), -1)
    named = {tenant: number for number, lane in enumerate(lanes) for tenant in lane.tenants or ()}
    return [named.get(tenant, rest) for tenant in range(tenants)]


def first_partitions(lanes: Sequence[Lane]) -> NDArray[np.int64]:
    """Returns the first partition of each lane, shape (lanes,)."""
    return np.array([0, *accumulate(lane.partitions for lane in lanes)][:-1], dtype=np.int64)


def lanes_of_partitions(log: Log) -> list[int]:
    """Returns the number of each partition's lane; 0 in a log without lanes."""
    if not log.lanes:
        return [0] * log.partitions
    return [number for number, lane in enumerate(log.lanes) for _ in range(lane.partitions)]


def served_lanes(log: Log, group: ConsumerGroup) -> int:
    """Returns how many lanes a consumer tells apart; 0 if none."""
    return 0 if group.service == "arrival" else len(log.lanes)


def quanta(log: Log, max_events: int) -> list[float]:
    """Returns what a round of deficit round robin adds to each lane, in events: to that of the least weight the largest frame.

    With less, a visit could take nothing, and a round would not be O(1) a frame (Shreedhar & Varghese 1996).
    """
    least = min((lane.weight for lane in log.lanes), default=1.0)
    return [max_events * (lane.weight / least) for lane in log.lanes]


def check_lanes(of_log: tuple[str, Log], of_group: tuple[str, ConsumerGroup], tenants: int, place: str) -> None:
    """Checks that lanes share out all partitions and all tenants, and that a service has lanes to choose from.

    Raises:
        ScenarioError: the first broken rule, in one line.
    """
    (log_name, log), (group_name, group) = of_log, of_group
    where = f"{place}: stations.{log_name}.lanes"
    if not log.lanes:
        if group.service != "arrival":
            raise ScenarioError(
                f"{place}: stations.{group_name}.service: must be arrival in front of a log without lanes, got {group.service}; "
                f"give {log_name} lanes"
            )
        return
    if len(log.lanes) == 1:
        raise ScenarioError(f"{where}: must be two or more, or none, got one; add a lane for the other tenants")
    names = [lane.name for lane in log.lanes]
    if len(names) != len(set(names)):
        raise ScenarioError(f"{where}: must have names of their own, got {', '.join(names)}; rename one")
    sizes = [lane.partitions for lane in log.lanes]
    if sum(sizes) != log.partitions:
        raise ScenarioError(
            f"{where}: must have the log's {log.partitions} partitions together, got {' + '.join(map(str, sizes))} = {sum(sizes)}; "
            f"write partitions: {sum(sizes)}, or mend the lanes"
        )
    _check_tenants(log.lanes, tenants, where)


def _check_tenants(lanes: Sequence[Lane], tenants: int, where: str) -> None:
    rest = [lane.name for lane in lanes if lane.tenants is None]
    if len(rest) > 1:
        raise ScenarioError(
            f"{where}: must leave tenants out in one lane at most, got {', '.join(rest)}; name those of all but one"
        )
    named = [tenant for lane in lanes for tenant in lane.tenants or ()]
    if twice := sorted({tenant for tenant in named if named.count(tenant) > 1}):
        raise ScenarioError(f"{where}: must have a tenant in one lane, got {twice} twice; name each once")
    if foreign := sorted(tenant for tenant in named if tenant >= tenants):
        raise ScenarioError(f"{where}: must name tenants 0 to {tenants - 1}, got {foreign}; raise load.tenants")
    missing = sorted({*range(tenants)} - {*named})
    if missing and not rest:
        raise ScenarioError(
            f"{where}: must have a lane for each tenant, got none for {missing}; leave tenants out in one lane, which has the rest"
        )
    if rest and not missing:
        raise ScenarioError(
            f"{where}.{rest[0]}: must be some tenant's, got all {tenants} tenants in other lanes; remove the lane or name fewer there"
        )

"""Followers that lag: out of the in-sync replicas, and back."""

from __future__ import annotations

from sentra_sim.engine.reference.request import Request
from sentra_sim.engine.reference.shard import Shard


def check_lag(shard: Shard) -> None:
    """Takes out followers that have lagged for too long, and back those that have caught up."""
    if not shard.serves() or shard.stopped:
        return
    for number in shard.replicas:
        if number == shard.leader or number in shard.behind:
            continue
        if number not in shard.in_sync:
            if _keeps_up(shard, number):
                shard.in_sync.add(number)
        elif any(_late(shard, request, number) for request in shard.open):
            shard.shrink(number)


def _keeps_up(shard: Shard, number: int) -> bool:
    lag_s, at_s = shard.last_copy[number]
    longest_s = shard.spec.replica_lag_s
    idle = shard.world.env.now - at_s > longest_s and not shard.log.brokers[number].jobs.items
    return lag_s <= longest_s or idle


def _late(shard: Shard, request: Request, number: int) -> bool:
    waited_s = shard.world.env.now - request.appended_s
    return request.appended and number not in request.have and waited_s > shard.spec.replica_lag_s

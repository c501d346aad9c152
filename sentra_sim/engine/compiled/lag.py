"""Followers that lag: out of the in-sync replicas, and back. `reference/lag.py` is the model."""

from __future__ import annotations

from sentra_sim.engine.compiled.fetches import serves
from sentra_sim.engine.compiled.memory import Sim, broker_at, copy_at, plain, request_at, server_at, shard_at
from sentra_sim.engine.compiled.shards import replica, shrink


@plain
def check_lag(sim: Sim, number: int) -> None:
    """Takes out followers that have lagged for too long, and back those that have caught up."""
    shard = shard_at(sim, number)
    if not serves(sim, number) or shard.stopped:
        return
    for step in range(sim.replication_factor):
        broker = replica(sim, number, step)
        if broker == shard.leader or copy_at(sim, number, step).behind:
            continue
        if not (shard.in_sync >> step) & 1:
            if keeps_up(sim, number, step):
                shard.in_sync |= 1 << step
        elif is_late(sim, number, step):
            shrink(sim, number, step)


@plain
def keeps_up(sim: Sim, number: int, step: int) -> bool:
    """Tells whether a follower has got its last request soon enough, or nothing lately as there was nothing."""
    copy, server = copy_at(sim, number, step), broker_at(sim, replica(sim, number, step)).server
    idle = sim.now - copy.at > sim.replica_lag and server_at(sim, server).head < 0
    return copy.lag <= sim.replica_lag or idle  # type: ignore[no-any-return]


@plain
def is_late(sim: Sim, number: int, step: int) -> bool:
    """Tells whether a follower has lacked an appended request for too long."""
    at = shard_at(sim, number).open_head
    while at >= 0:
        request = request_at(sim, at)
        if request.appended and not (request.have >> step) & 1 and sim.now - request.appended_at > sim.replica_lag:
            return True
        at = request.next
    return False

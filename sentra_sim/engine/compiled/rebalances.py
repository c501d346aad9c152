"""Who owns which partition, and how that changes, in the compiled engine. `reference/membership.py` is the model."""

from __future__ import annotations

import numpy as np

from sentra_sim.engine.compiled.calendar import HEAR, TAKEN_OVER, push
from sentra_sim.engine.compiled.layout import EAGER
from sentra_sim.engine.compiled.memory import (
    Row,
    Sim,
    cgroup_at,
    cold,
    frame_at,
    line_at,
    owner_at,
    replica_at,
    thread_at,
)
from sentra_sim.engine.compiled.polls import add_orphan, offer_frame
from sentra_sim.engine.compiled.waiting import add_last, sort_in


@cold
def is_stopped(sim: Sim, number: int) -> bool:
    """Tells whether a consumer's process is stopped by a signal."""
    return cgroup_at(sim, thread_at(sim, replica_at(sim, number).thread).cgroup).stopped != 0  # type: ignore[no-any-return]


@cold
def to_heartbeat(sim: Sim, number: int) -> float:
    """Returns how long it is until a consumer's next heartbeat."""
    period = sim.heartbeat
    return period - np.fmod(sim.now + replica_at(sim, number).phase * period, period)  # type: ignore[no-any-return]


@cold
def rebalance(sim: Sim, newcomer: int) -> None:
    """Begins a rebalance; `newcomer` is who caused it by joining, or -1."""
    if sim.protocol == EAGER:
        prepare(sim, newcomer)
        return
    assign(sim)
    mark_free(sim)
    hand_out(sim)
    for number in range(sim.replica_count):
        member = replica_at(sim, number)
        if member.alive and holds_anothers(sim, number):
            push(sim, to_heartbeat(sim, number), HEAR, number, member.life)


@cold
def holds_anothers(sim: Sim, number: int) -> bool:
    """Tells whether a consumer has a partition that is to be another's."""
    for partition in range(sim.partition_count):
        row = owner_at(sim, partition)
        if row.owner == number and row.target != number:
            return True
    return False


@cold
def prepare(sim: Sim, newcomer: int) -> None:
    """Asks all consumers to give everything up and join again."""
    if not sim.preparing:
        sim.preparing = 1
        for number in range(sim.replica_count):
            member = replica_at(sim, number)
            member.heard = 0
            if member.alive and number != newcomer:
                push(sim, to_heartbeat(sim, number), HEAR, number, member.life)
    if newcomer >= 0:
        replica_at(sim, newcomer).heard = 1
    mark_free(sim)
    all_heard(sim)


@cold
def hear(sim: Sim, number: int, life: int) -> None:
    """Tells a consumer that it has something to give up."""
    member = replica_at(sim, number)
    if life != member.life or member.late or (sim.protocol == EAGER and member.heard):
        return
    member.giving_up = 1
    if member.poll < 0 and not is_stopped(sim, number):
        give_up(sim, number)


@cold
def give_up(sim: Sim, number: int) -> None:
    """Takes from a consumer what is no longer its own."""
    member = replica_at(sim, number)
    member.giving_up = 0
    if sim.protocol == EAGER:
        take_away(sim, number, -1)
        member.heard = 1
        all_heard(sim)
        return
    sim.last_mark += 1
    take_away(sim, number, sim.last_mark)
    hand_out(sim)


@cold
def all_heard(sim: Sim) -> None:
    """Ends an eager rebalance when the last consumer has joined it."""
    if not sim.preparing:
        return
    for number in range(sim.replica_count):
        member = replica_at(sim, number)
        if member.joined and not member.heard:
            return
    sim.preparing = 0
    assign(sim)
    mark_free(sim)
    push(sim, sim.join, TAKEN_OVER, -1, sim.last_mark)


@cold
def mark_free(sim: Sim) -> None:
    """Marks all partitions that nobody owns with a new mark."""
    sim.last_mark += 1
    for partition in range(sim.partition_count):
        row = owner_at(sim, partition)
        if row.owner < 0:
            row.mark = sim.last_mark


@cold
def hand_out(sim: Sim) -> None:
    """Lets the new owners of the partitions marked last learn of them at their next heartbeats."""
    for partition in range(sim.partition_count):
        row = owner_at(sim, partition)
        if row.mark != sim.last_mark or row.target < 0:
            continue
        member = replica_at(sim, row.target)
        if member.told != sim.last_mark:
            member.told = sim.last_mark
            push(sim, to_heartbeat(sim, row.target) + sim.join, TAKEN_OVER, row.target, sim.last_mark)


@cold
def take_away(sim: Sim, number: int, mark: int) -> None:
    """Takes partitions from a consumer: with a mark those that are to be another's, which get it, else all."""
    for partition in range(sim.partition_count):
        row = owner_at(sim, partition)
        if row.owner == number and (mark < 0 or row.target != number):
            row.owner = -1
            if mark >= 0:
                row.mark = mark
    if sim.line_count:
        sort_in(sim, number)
        for line in range(sim.line_count):
            leave_orphans(sim, line_at(sim, number, line))
    else:
        leave_orphans(sim, replica_at(sim, number))


@cold
def leave_orphans(sim: Sim, queue: Row) -> None:
    """Takes out of a list the frames whose partitions nobody owns."""
    frame = queue.head
    queue.head = -1
    while frame >= 0:
        after = frame_at(sim, frame).next
        frame_at(sim, frame).next = -1
        if owner_at(sim, frame_at(sim, frame).partition).owner < 0:
            add_orphan(sim, frame)
        else:
            add_last(sim, queue, frame)
        frame = after


@cold
def take_over(sim: Sim, number: int, mark: int) -> None:
    """Gives partitions of a mark to their new owner, or with -1 to all of theirs, with the frames that wait."""
    for partition in range(sim.partition_count):
        row = owner_at(sim, partition)
        if row.mark == mark and row.owner < 0 and (number < 0 or row.target == number):
            row.owner = row.target
    frame = sim.orphan_head
    sim.orphan_head = -1
    while frame >= 0:
        after = frame_at(sim, frame).next
        offer_frame(sim, frame)
        frame = after


@cold
def assign(sim: Sim) -> None:
    """Decides who is to own what: all anew by round robin, or moving as few partitions as an even spread needs."""
    joined = 0
    for number in range(sim.replica_count):
        joined += replica_at(sim, number).joined
    if joined > 0 and sim.protocol != EAGER:
        assign_sticky(sim, joined)
        return
    number = -1
    for partition in range(sim.partition_count):
        if joined > 0:
            number = next_joined(sim, number)
        owner_at(sim, partition).target = number


@cold
def next_joined(sim: Sim, number: int) -> int:
    """Returns the next consumer in the group after another, the first after the last."""
    number += 1
    while number == sim.replica_count or not replica_at(sim, number).joined:
        number = 0 if number == sim.replica_count else number + 1
    return number


@cold
def assign_sticky(sim: Sim, joined: int) -> None:
    """Spreads the partitions evenly over the consumers in the group, each of which keeps what it may."""
    make_space(sim, joined)
    for partition in range(sim.partition_count):
        row = owner_at(sim, partition)
        if row.target >= 0 and replica_at(sim, row.target).space > 0:
            replica_at(sim, row.target).space -= 1
        else:
            row.target = -1
    number = 0
    for partition in range(sim.partition_count):
        row = owner_at(sim, partition)
        if row.target < 0:
            while replica_at(sim, number).space == 0:
                number += 1
            replica_at(sim, number).space -= 1
            row.target = number


@cold
def make_space(sim: Sim, joined: int) -> None:
    """Says how many partitions each consumer may have; one more first of all who has more than the least."""
    quota, extra = sim.partition_count // joined, sim.partition_count % joined
    for number in range(sim.replica_count):
        member = replica_at(sim, number)
        member.held, member.space = 0, quota * member.joined
    for partition in range(sim.partition_count):
        if owner_at(sim, partition).target >= 0:
            replica_at(sim, owner_at(sim, partition).target).held += 1
    for more in range(1, -1, -1):
        for number in range(sim.replica_count):
            member = replica_at(sim, number)
            if member.joined and extra > 0 and (member.held > quota) == (more == 1):
                member.space += 1
                extra -= 1

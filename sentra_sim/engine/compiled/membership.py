"""Who is in the consumer group and who owns which partition, in the compiled engine. `reference/membership.py` is the model."""

from __future__ import annotations

import numpy as np

from sentra_sim.engine.compiled.calendar import EXPIRED, HEAR, READY, RESUMED, TAKEN_OVER, push
from sentra_sim.engine.compiled.freezer import cancel_job, signal
from sentra_sim.engine.compiled.memory import (
    Sim,
    breaker_at,
    cgroup_at,
    cold,
    frame_at,
    owner_at,
    poll_at,
    poll_frame_at,
    replica_at,
    thread_at,
)
from sentra_sim.engine.compiled.polls import add_orphan, offer_frame
from sentra_sim.engine.compiled.tables import EAGER, STATIC


@cold
def start(sim: Sim, number: int) -> None:
    """Starts a consumer; it joins when its process is ready."""
    member = replica_at(sim, number)
    member.leaving = 0
    if member.alive or member.starting or member.returning or member.fenced:
        return
    member.life += 1
    member.starting = 1
    push(sim, sim.ready, READY, number, member.life)


@cold
def stop(sim: Sim, number: int) -> None:
    """Lets a consumer end in order: it finishes its poll and leaves."""
    member = replica_at(sim, number)
    if not member.alive:
        kill(sim, number)
        return
    member.leaving = 1
    if member.poll < 0 and not is_stopped(sim, number):
        leave(sim, number)


@cold
def kill(sim: Sim, number: int) -> None:
    """Ends a consumer at once; its poll is not committed, and nobody is told."""
    member = replica_at(sim, number)
    member.life += 1
    member.starting, member.returning, member.fenced = 0, 0, 0
    alive = member.alive
    if alive:
        drop(sim, number)
    signal(sim, thread_at(sim, member.thread).cgroup, False)
    if alive:
        miss(sim, number)


@cold
def is_stopped(sim: Sim, number: int) -> bool:
    """Tells whether a consumer's process is stopped by a signal."""
    return cgroup_at(sim, thread_at(sim, replica_at(sim, number).thread).cgroup).stopped != 0  # type: ignore[no-any-return]


@cold
def pause(sim: Sim, number: int) -> None:
    """Stops a consumer's process (SIGSTOP): it sends no heartbeats either, so that its session ends if that lasts."""
    member = replica_at(sim, number)
    if member.alive and not is_stopped(sim, number):
        signal(sim, thread_at(sim, member.thread).cgroup, True)
        miss(sim, number)


@cold
def resume(sim: Sim, number: int) -> None:
    """Lets a stopped consumer go on (SIGCONT): with what it was at or, if its session is over, by joining again."""
    member = replica_at(sim, number)
    if not is_stopped(sim, number):
        return
    signal(sim, thread_at(sim, member.thread).cgroup, False)
    if member.fenced:
        member.fenced = 0
        join(sim, number)
        return
    member.session += 1
    if member.poll < 0 and (member.leaving or member.giving_up):
        after_poll(sim, number)


@cold
def drop(sim: Sim, number: int) -> None:
    """Ends a consumer with what it is at; its poll is taken again, as it is not committed."""
    end(sim, number)
    cancel_job(sim, replica_at(sim, number).thread)
    if replica_at(sim, number).poll >= 0:
        put_back(sim, number)


@cold
def put_back(sim: Sim, number: int) -> None:
    """Puts the frames of a poll that is not committed before those that wait."""
    member = replica_at(sim, number)
    poll = poll_at(sim, member.poll)
    sim.keeps_first = 1
    sim.reread += poll.frames
    if sim.reread > sim.room:  # as many are listed twice at most
        sim.full = 1
        return
    for back in range(poll.frames):
        frame = poll_frame_at(sim, poll.first + poll.frames - 1 - back).value
        row = frame_at(sim, frame)
        row.attempts += 1
        sim.lag_events += row.events
        row.next = member.head
        if member.head < 0:
            member.tail = frame
        member.head = frame
    member.poll = -1


@cold
def scale(sim: Sim, count: int) -> None:
    """Starts the first consumers that do not run, or stops the last that do, until so many run."""
    running = 0
    for number in range(sim.replica_count):
        running += runs(sim, number)
    for number in range(sim.replica_count):
        if running < count and not runs(sim, number):
            start(sim, number)
            running += 1
    for back in range(sim.replica_count):
        number = sim.replica_count - 1 - back
        if running > count and runs(sim, number):
            stop(sim, number)
            running -= 1


@cold
def runs(sim: Sim, number: int) -> bool:
    """Tells whether a consumer runs or is about to."""
    member = replica_at(sim, number)
    polls = member.alive != 0 and member.leaving == 0
    return polls or member.starting != 0 or member.returning != 0 or member.fenced != 0  # type: ignore[no-any-return]


@cold
def after_poll(sim: Sim, number: int) -> None:
    """Lets a consumer leave or give partitions up, now that its poll is committed."""
    if replica_at(sim, number).leaving:
        leave(sim, number)
    else:
        give_up(sim, number)


@cold
def member_ready(sim: Sim, number: int, life: int) -> None:
    """Lets a consumer join whose process is ready."""
    member = replica_at(sim, number)
    if life != member.life:
        return
    member.starting = 0
    if not member.joined:
        join(sim, number)
    elif sim.protocol == STATIC:
        member.session += 1
        member.alive = 1
        push(sim, sim.join, RESUMED, number, life)
    else:
        member.returning = 1


@cold
def join(sim: Sim, number: int) -> None:
    """Takes a consumer into the group; it begins its poll loop."""
    member = replica_at(sim, number)
    member.returning, member.alive, member.joined, member.waiting = 0, 1, 1, 1
    sim.joined_count += 1
    rebalance(sim, number)


@cold
def end(sim: Sim, number: int) -> None:
    """Ends a consumer's process; the next has a thread of its own."""
    member = replica_at(sim, number)
    member.alive, member.leaving, member.giving_up, member.waiting = 0, 0, 0, 0
    member.gather = sim.gather
    thread_at(sim, member.thread).finished = -1.0
    cgroup_at(sim, thread_at(sim, member.thread).cgroup).done = 0.0
    for at in range(number * sim.call_count, (number + 1) * sim.call_count):
        breaker_at(sim, at).opened, breaker_at(sim, at).failures = 0, 0


@cold
def leave(sim: Sim, number: int) -> None:
    """Lets a consumer end that has no poll under way."""
    member = replica_at(sim, number)
    member.life += 1
    end(sim, number)
    if sim.protocol == STATIC:
        miss(sim, number)
        return
    member.joined = 0
    sim.joined_count -= 1
    take_away(sim, number, -1)
    rebalance(sim, -1)


@cold
def miss(sim: Sim, number: int) -> None:
    """Lets a session run out, which was last renewed by a heartbeat."""
    member = replica_at(sim, number)
    member.session += 1
    since = sim.heartbeat - to_heartbeat(sim, number)
    push(sim, max(0.0, sim.session_timeout - since), EXPIRED, number, member.session)


@cold
def expire(sim: Sim, number: int, session: int) -> None:
    """Takes a consumer out of the group that was not heard of for a session."""
    member = replica_at(sim, number)
    if session != member.session or not member.joined:
        return
    member.session += 1
    member.joined = 0
    sim.joined_count -= 1
    if member.alive:  # it is stopped
        member.life += 1
        member.fenced = 1 - member.leaving
        drop(sim, number)
    take_away(sim, number, -1)
    if member.returning:
        join(sim, number)
    else:
        rebalance(sim, -1)


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
    if life != member.life:
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
    member = replica_at(sim, number)
    frame, last = member.head, -1
    member.head = -1
    while frame >= 0:
        after = frame_at(sim, frame).next
        frame_at(sim, frame).next = -1
        if owner_at(sim, frame_at(sim, frame).partition).owner < 0:
            add_orphan(sim, frame)
        else:
            if last < 0:
                member.head = frame
            else:
                frame_at(sim, last).next = frame
            last = frame
            member.tail = frame
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

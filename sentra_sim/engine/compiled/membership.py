"""Who is in the consumer group: consumers that join, leave, stop and die. `reference/membership.py` is the model."""

from __future__ import annotations

from sentra_sim.engine.compiled.calendar import EXPIRED, POLL_WATCH, READY, RESUMED, push
from sentra_sim.engine.compiled.freezer import cancel_job, signal
from sentra_sim.engine.compiled.layout import STATIC
from sentra_sim.engine.compiled.memory import (
    Sim,
    breaker_at,
    cgroup_at,
    cold,
    frame_at,
    poll_at,
    poll_frame_at,
    replica_at,
    thread_at,
)
from sentra_sim.engine.compiled.rebalances import give_up, is_stopped, rebalance, take_away, to_heartbeat
from sentra_sim.engine.compiled.waiting import add_first, put_back_in_line, renew_lines


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
    if alive and member.joined:
        miss(sim, number)


@cold
def pause(sim: Sim, number: int) -> None:
    """Stops a consumer's process (SIGSTOP): it sends no heartbeats either, so that its session ends if that lasts."""
    member = replica_at(sim, number)
    if member.alive and not is_stopped(sim, number):
        signal(sim, thread_at(sim, member.thread).cgroup, True)
        if not member.late:
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
    member.session += 1 - member.late
    if member.poll < 0 and (member.leaving or member.giving_up):
        after_poll(sim, number)
    elif member.overdue:
        be_late(sim, number)


@cold
def polled(sim: Sim, number: int) -> None:
    """Notes that a consumer polls, and sets the timer that watches over its polls."""
    member = replica_at(sim, number)
    member.polled = sim.now
    if not member.watched:
        member.watched = 1
        push(sim, sim.max_poll_interval, POLL_WATCH, number, member.life)


@cold
def watch_poll(sim: Sim, number: int, life: int) -> None:
    """Looks whether a consumer has not polled for too long, or when to look again."""
    member = replica_at(sim, number)
    if life != member.life:
        return
    member.watched = 0
    if member.poll < 0 or member.late:
        return
    wait = member.polled + sim.max_poll_interval - sim.now
    if wait > 0.0:
        member.watched = 1
        push(sim, wait, POLL_WATCH, number, life)
    elif is_stopped(sim, number):
        member.overdue = 1
    else:
        be_late(sim, number)


@cold
def be_late(sim: Sim, number: int) -> None:
    """Lets a consumer leave that has not polled for too long; it goes on with its poll, but cannot commit it."""
    member = replica_at(sim, number)
    member.overdue, member.giving_up, member.late = 0, 0, 1
    put_back(sim, number)
    if sim.protocol == STATIC:
        miss(sim, number)
        return
    member.session += 1
    member.joined = 0
    sim.joined_count -= 1
    take_away(sim, number, -1)
    rebalance(sim, -1)


@cold
def rejoin(sim: Sim, number: int) -> None:
    """Lets a consumer that was late join again; a static one still has its partitions if its session is not over."""
    member = replica_at(sim, number)
    member.late = 0
    member.session += 1
    if member.joined:
        give_up(sim, number)
    else:
        member.joined = 1
        sim.joined_count += 1
        rebalance(sim, number)


@cold
def drop(sim: Sim, number: int) -> None:
    """Ends a consumer with what it is at; its poll is taken again, as it is not committed."""
    end(sim, number)
    cancel_job(sim, replica_at(sim, number).thread)
    member = replica_at(sim, number)
    if member.poll >= 0 and not member.late:
        put_back(sim, number)
    member.poll, member.late = -1, 0


@cold
def put_back(sim: Sim, number: int) -> None:
    """Puts the frames of a poll that is not committed before those that wait."""
    member = replica_at(sim, number)
    poll = poll_at(sim, member.poll)
    sim.keeps_first = 1
    sim.recycles = 0  # stations may be at the poll still, whose frames another one brings to all their hops
    for back in range(poll.frames):
        frame = poll_frame_at(sim, poll.first + poll.frames - 1 - back).value
        row = frame_at(sim, frame)
        row.attempts += 1
        sim.lag_events += row.events
        if sim.line_count:
            put_back_in_line(sim, number, frame)
        else:
            add_first(sim, member, frame)


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
    elif replica_at(sim, number).late:
        rejoin(sim, number)
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
    member.gather, member.tries = sim.gather, 0
    member.watched, member.overdue = 0, 0
    renew_lines(sim, number)
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
    late, member.late = member.late, 0
    if late and not member.joined:
        return
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
    if member.alive and not member.late:  # it is stopped
        member.life += 1
        member.fenced = 1 - member.leaving
        drop(sim, number)
    take_away(sim, number, -1)
    if member.returning:
        join(sim, number)
    else:
        rebalance(sim, -1)

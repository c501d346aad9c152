"""The brokers as the controller sees them: who is up, who is reached, who is fenced. `reference/cluster.py` is the model."""

from __future__ import annotations

from typing import Any

import numba

from sentra_sim.engine.compiled.calendar import (
    COPIED,
    FENCE,
    LAG,
    NONE,
    PREFER,
    REPLICATED,
    RETRY,
    STARTED,
    WRITTEN,
    push,
)
from sentra_sim.engine.compiled.freezer import renew, signal
from sentra_sim.engine.compiled.lag import check_lag
from sentra_sim.engine.compiled.log import appended, copied, replicated
from sentra_sim.engine.compiled.memory import Sim, broker_at, node_at, plain, server_at, thread_at
from sentra_sim.engine.compiled.pulls import begin_pulls, cut_pulls
from sentra_sim.engine.compiled.queues import free
from sentra_sim.engine.compiled.retries import retry
from sentra_sim.engine.compiled.shards import fence, lose, prefer, rejoin, step_of

OPERATIONS = ("kill", "start", "pause", "resume", "partition", "heal", "slow")
KILL, START, PAUSE, RESUME, PARTITION, HEAL, SLOW = range(len(OPERATIONS))


@numba.njit(cache=True, error_model="numpy")
def change_broker(tables: Any, operation: int, number: int, value: float) -> None:
    """Does to a broker what a change says; what is so already stays so."""
    sim = tables[0]
    broker = broker_at(sim, number)
    if operation == KILL:
        broker.killed, broker.ready = 1, 0
        broker.start_number += 1
        renew(sim, broker.cgroup)
        fail(sim, number)
    elif operation == PAUSE:
        if broker.up:
            signal(sim, broker.cgroup, True)
            fail(sim, number)
    elif operation == PARTITION:
        cut_off(sim, number)
    elif operation == START:
        start(sim, number)
    elif operation == RESUME:
        signal(sim, broker.cgroup, False)
        if not broker.up and not broker.killed:
            register(sim, number)
    elif operation == SLOW:
        broker.latency = value
    else:
        broker.latency = 0.0
        if broker.up and not broker.talking:
            register(sim, number)


@plain
def broker_event(sim: Sim, kind: int, subject: int, detail: int) -> None:
    """Does what a calendar entry about brokers that fail, are slow or wait for their disks says."""
    if kind == RETRY:
        retry(sim, subject)
    elif kind == FENCE:
        end_session(sim, subject, detail)
    elif kind == STARTED:
        started(sim, subject, detail)
    elif kind == PREFER:
        prefer(sim, subject)
    elif kind == WRITTEN:
        appended(sim, subject)
    elif kind == COPIED:
        copied(sim, subject, detail)
    elif kind == REPLICATED:
        replicated(sim, subject, detail)
    else:
        watch_lag(sim)


@plain
def is_replica(sim: Sim, shard: int, broker: int) -> bool:
    """Tells whether a broker has a shard."""
    return step_of(sim, shard, broker) < sim.replication_factor  # type: ignore[no-any-return]


@plain
def fail(sim: Sim, number: int) -> None:
    """A broker answers nobody from now on."""
    broker = broker_at(sim, number)
    if not broker.up:
        return
    talked = broker.talking
    broker.up, broker.talking = 0, 0
    forget_jobs(sim, broker.server)
    if sim.pulling:
        cut_pulls(sim, number)
    for shard in range(sim.broker_count):
        if is_replica(sim, shard, number):
            lose(sim, shard, number, False)
    if talked:
        miss_heartbeats(sim, number)


@plain
def forget_jobs(sim: Sim, server: int) -> None:
    """Forgets all jobs; what a thread is at is served to its end, for nothing."""
    queue = server_at(sim, server)
    while queue.head >= 0:
        node = queue.head
        queue.head = node_at(sim, node).next
        free(sim, node)
    for thread in range(sim.thread_count):
        if thread_at(sim, thread).server == server:
            thread_at(sim, thread).ref = -1


@plain
def cut_off(sim: Sim, number: int) -> None:
    """A broker reaches no other one from now on."""
    broker = broker_at(sim, number)
    if not broker.talking:
        return
    broker.talking = 0
    if sim.pulling:
        cut_pulls(sim, number)
    for shard in range(sim.broker_count):
        if is_replica(sim, shard, number):
            lose(sim, shard, number, True)
    miss_heartbeats(sim, number)


@plain
def miss_heartbeats(sim: Sim, number: int) -> None:
    """Fences a broker when its session ends; a new controller gives every broker a new session."""
    if number != sim.controller:
        await_end(sim, number, sim.broker_session_timeout)
        return
    for step in range(1, sim.broker_count):
        voter = (number + step) % sim.broker_count
        if broker_at(sim, voter).talking:
            sim.controller = voter
            break
    for other in range(sim.broker_count):
        if not broker_at(sim, other).talking and not broker_at(sim, other).fenced:
            await_end(sim, other, sim.controller_election + sim.broker_session_timeout)


@plain
def await_end(sim: Sim, number: int, wait: float) -> None:
    """Sets when a broker's session ends."""
    broker_at(sim, number).session += 1
    push(sim, wait, FENCE, number, broker_at(sim, number).session)


@plain
def end_session(sim: Sim, number: int, session: int) -> None:
    """Fences a broker, unless it has come back."""
    broker = broker_at(sim, number)
    if session != broker.session:
        return
    broker.fenced = 1
    for shard in range(sim.broker_count):
        if is_replica(sim, shard, number):
            fence(sim, shard, number)
    if broker.ready:
        register(sim, number)


@plain
def start(sim: Sim, number: int) -> None:
    """Starts a killed broker again."""
    broker = broker_at(sim, number)
    if broker.killed and not broker.ready:
        broker.start_number += 1
        push(sim, sim.restart, STARTED, number, broker.start_number)


@plain
def started(sim: Sim, number: int, start_number: int) -> None:
    """Registers a started broker, or lets it wait for the end of the session from before."""
    broker = broker_at(sim, number)
    if start_number != broker.start_number:
        return
    broker.ready = 1
    if broker.fenced:
        register(sim, number)


@plain
def register(sim: Sim, number: int) -> None:
    """A broker takes part again."""
    broker = broker_at(sim, number)
    broker.up, broker.talking, broker.fenced, broker.killed, broker.ready = 1, 1, 0, 0, 0
    broker.session += 1
    if sim.pulling:
        begin_pulls(sim, number)
    for shard in range(sim.broker_count):
        if is_replica(sim, shard, number):
            rejoin(sim, shard, number)


@plain
def watch_lag(sim: Sim) -> None:
    """Looks at all followers now and then."""
    for shard in range(sim.broker_count):
        check_lag(sim, shard)
    push(sim, sim.replica_lag / 2.0, LAG, NONE, NONE)

"""Replication by pull: each follower has one fetch at each leader. `reference/pulls.py` is the model.

These fetches come after those of consumers, by follower and leader.
"""

from __future__ import annotations

from sentra_sim.engine.compiled.calendar import REPLICA_COMES, delay_of, push
from sentra_sim.engine.compiled.fetches import add, come, settle, take_answer
from sentra_sim.engine.compiled.layout import BUNCH
from sentra_sim.engine.compiled.memory import Sim, broker_at, cold, fetch_at, node_at, request_at
from sentra_sim.engine.compiled.queues import free, put
from sentra_sim.engine.compiled.requests import new_request


@cold
def pull_of(sim: Sim, follower: int, leader: int) -> int:
    """Returns the number of a follower's fetch."""
    return sim.pull_first + follower * sim.broker_count + leader  # type: ignore[no-any-return]


@cold
def let_pull(sim: Sim, follower: int, leader: int, number: int) -> None:
    """Lets a follower fetch a request from its leader."""
    fetch = pull_of(sim, follower, leader)
    add(sim, fetch, number, request_at(sim, number).bytes)
    if settle(sim, fetch):
        answer_pull(sim, fetch)


@cold
def answer_pull(sim: Sim, number: int) -> None:
    """Answers a follower's fetch: all that is there is one job of its broker."""
    fetch = fetch_at(sim, number)
    at = take_answer(sim, number)
    if fetch.bunch < 0:
        fetch.bunch = new_request(sim, number, sim.listed)  # it lists no frames
        request_at(sim, fetch.bunch).catch_up = BUNCH
    bunch = request_at(sim, fetch.bunch)
    bunch.frames, bunch.events, bunch.bytes = 0, 0, 0.0
    while at >= 0:
        request = request_at(sim, node_at(sim, at).ref)
        bunch.frames += request.frames
        bunch.events += request.events
        bunch.bytes += request.bytes
        at = node_at(sim, at).next
    follower = broker_at(sim, fetch.follower)
    put(sim, follower.server, follower.replicate_work, fetch.bunch)


@cold
def pulled(sim: Sim, number: int, follower: int) -> None:
    """A follower has what its last fetch brought, and sends the next one."""
    push(sim, delay_of(sim, broker_at(sim, follower).replication_delay), REPLICA_COMES, number, follower)


@cold
def next_pull(sim: Sim, number: int) -> None:
    """The next fetch is at the leader."""
    if come(sim, number):
        answer_pull(sim, number)


@cold
def drop_nodes(sim: Sim, at: int) -> None:
    """Gives a list of nodes back."""
    while at >= 0:
        after = node_at(sim, at).next
        free(sim, at)
        at = after


@cold
def cut(sim: Sim, number: int) -> None:
    """Breaks a fetch off."""
    fetch = fetch_at(sim, number)
    drop_nodes(sim, fetch.answer)
    drop_nodes(sim, take_answer(sim, number))
    fetch.answer = -1
    if fetch.bunch >= 0:
        request_at(sim, fetch.bunch).gone = 1
        fetch.bunch = -1


@cold
def cut_pulls(sim: Sim, number: int) -> None:
    """A broker reaches no other one: its fetches and those at it are broken off."""
    for other in range(sim.broker_count):
        cut(sim, pull_of(sim, number, other))
        cut(sim, pull_of(sim, other, number))


@cold
def begin_pulls(sim: Sim, number: int) -> None:
    """A broker reaches the others again: it fetches from them, and they from it."""
    for other in range(sim.broker_count):
        if other != number and broker_at(sim, number).talking and broker_at(sim, other).talking:
            next_pull(sim, pull_of(sim, number, other))
            next_pull(sim, pull_of(sim, other, number))

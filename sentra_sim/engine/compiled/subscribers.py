"""Subscribers of an edge: how many get a message, the slow ones, those that are away. `reference/subscribers.py` is the model."""

from __future__ import annotations

from sentra_sim.engine.compiled.calendar import NONE, RECONNECT, push
from sentra_sim.engine.compiled.draws import draw
from sentra_sim.engine.compiled.memory import Row, Sim, delay_at, edge_at, plain, slow_at


@plain
def count_writes(sim: Sim, number: int, events: int) -> int:
    """Counts messages over WebSocket: a client gets one if its tenant has an event in the poll."""
    writes = _writes(sim, number, events, 0)
    edge_at(sim, number).writes += writes
    return int(writes + 0.5)


@plain
def count_sse_writes(sim: Sim, number: int, events: int) -> int:
    """Counts messages over server-sent events."""
    edge = edge_at(sim, number)
    writes = _writes(sim, number, events, 1)
    edge.writes += writes
    edge.sse_writes += writes
    return int(writes + 0.5)


@plain
def _writes(sim: Sim, number: int, events: int, sse: int) -> float:
    edge = edge_at(sim, number)
    writes = 0.0
    for at in range(edge.first, edge.first + edge.classes):
        slow = slow_at(sim, at)
        if slow.sse == sse:
            writes += readers(edge, slow) * (1.0 - (1.0 - slow.share) ** float(events))
    return writes


@plain
def sse_events(sim: Sim, number: int, events: int) -> int:
    """Counts the events of a poll as often as they are sent over server-sent events."""
    edge = edge_at(sim, number)
    sent = 0.0
    for at in range(edge.first, edge.first + edge.classes):
        slow = slow_at(sim, at)
        if slow.sse:
            sent += readers(edge, slow) * (events * slow.share)
    return int(sent + 0.5)


@plain
def readers(edge: Row, slow: Row) -> float:
    """Returns how many clients a class stands for: a slow one for the fast ones of its kind too, less those that are away."""
    clients = 0.0 if slow.fast else edge.count * slow.part
    return clients if slow.connected else clients - slow.clients


@plain
def write_all(sim: Sim, number: int, events: int) -> None:
    """Puts the events of a poll into the buffers of all slow classes."""
    edge = edge_at(sim, number)
    for at in range(edge.first, edge.first + edge.classes):
        write_slow(sim, edge, at, events * slow_at(sim, at).share)


@plain
def write_slow(sim: Sim, edge: Row, at: int, events: float) -> None:
    """Puts events into the buffers of a class; cuts it off if they are too many."""
    slow = slow_at(sim, at)
    if slow.clients == 0.0 or (slow.fast and slow.connected):
        return
    edge.slow_offered += events * slow.clients
    if not slow.connected:
        slow.missed += events
        return
    drain_slow(sim, edge, slow)
    slow.unsent += events
    wait = (slow.behind + slow.unsent) / edge.read
    edge.slow_wait_s += events * slow.clients * wait
    edge.slow_wait_max_s = max(edge.slow_wait_max_s, wait)
    if slow.unsent > edge.buffer:
        cut_off(sim, edge, at)


@plain
def drain_slow(sim: Sim, edge: Row, slow: Row) -> None:
    """Lets a class read until now."""
    room = (sim.now - slow.clock) * edge.read
    slow.clock = sim.now
    old = min(slow.behind, room)
    slow.behind -= old
    new = min(slow.unsent, room - old)
    slow.unsent -= new
    edge.slow_delivered += (old + new) * slow.clients
    if slow.behind + slow.unsent == 0.0:
        slow.backoff = delay_at(sim, edge.reconnect).mean


@plain
def cut_off(sim: Sim, edge: Row, at: int) -> None:
    """Drops a class, which comes back after a backoff."""
    slow = slow_at(sim, at)
    edge.drops += slow.clients
    slow.missed = slow.unsent + slow.behind
    slow.unsent = 0.0
    slow.behind = 0.0
    slow.connected = 0
    slow.left = sim.now
    if slow.sse:
        edge.sse_drops += slow.clients
    back_off(sim, edge, at)


@plain
def back_off(sim: Sim, edge: Row, at: int) -> None:
    """Lets a class ask later, over WebSocket later each time."""
    slow = slow_at(sim, at)
    if slow.sse:
        wait = edge.sse_retry
    else:
        wait = slow.backoff * draw(sim, delay_at(sim, edge.reconnect))
        slow.backoff = min(2.0 * slow.backoff, edge.reconnect_max)
    push(sim, wait, RECONNECT, at, NONE)


@plain
def resume_slow(sim: Sim, at: int) -> None:
    """A class is back with its last id: what the edge still holds of what it missed is sent anew."""
    slow = slow_at(sim, at)
    edge = edge_at(sim, slow.edge)
    away = sim.now - slow.left
    if away > edge.hold:
        lost = slow.missed * (1.0 - edge.hold / away)
        slow.missed -= lost
        edge.gap += lost * slow.clients
    edge.reconnects += slow.clients
    if slow.sse:
        edge.sse_reconnects += slow.clients
    edge.replayed += slow.missed * slow.clients
    if slow.fast:
        edge.slow_delivered += slow.missed * slow.clients
        slow.backoff = delay_at(sim, edge.reconnect).mean
    else:
        slow.behind = slow.missed
    slow.missed = 0.0
    slow.connected = 1
    slow.clock = sim.now


@plain
def set_slow_share(sim: Sim, number: int, share: float) -> None:
    """Sets how many subscribers are slow."""
    edge = edge_at(sim, number)
    for at in range(edge.first, edge.first + edge.classes):
        slow = slow_at(sim, at)
        clients = edge.count * (1.0 - share if slow.fast else share) * slow.part
        if slow.connected:
            drain_slow(sim, edge, slow)
        if clients < slow.clients:
            edge.slow_delivered += (slow.clients - clients) * (slow.unsent + slow.behind + slow.missed)
        keep = slow.clients / clients if clients > slow.clients else (1.0 if clients > 0.0 else 0.0)
        slow.unsent *= keep
        slow.behind *= keep
        slow.missed *= keep
        slow.clients = clients


@plain
def count_pending(sim: Sim, number: int) -> None:
    """Counts what the slow subscribers of an edge have not got at the end of the run."""
    edge = edge_at(sim, number)
    edge.slow_pending = 0.0
    for at in range(edge.first, edge.first + edge.classes):
        slow = slow_at(sim, at)
        edge.slow_pending += slow.clients * (slow.unsent + slow.behind + slow.missed)

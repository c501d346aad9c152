"""Queues of jobs in the compiled engine: linked lists of nodes, and the threads that wait for a job, like `simpy.Store`."""

from __future__ import annotations

from sentra_sim.engine.compiled.calendar import GOT, NONE, PUT, push, quiet
from sentra_sim.engine.compiled.layout import NODES
from sentra_sim.engine.compiled.memory import Row, Sim, inline, more, node_at, plain, server_at, thread_at


@plain
def new_node(sim: Sim, work: int, ref: int) -> int:
    """Takes a free node for a job: a kind of work and the number of what it is done on."""
    if sim.free_node < 0:
        more(sim, NODES)
    node = sim.free_node
    sim.free_node = node_at(sim, node).next
    row = node_at(sim, node)
    row.work, row.ref, row.next = work, ref, -1
    return node  # type: ignore[no-any-return]


@plain
def free(sim: Sim, node: int) -> None:
    """Gives a node back."""
    node_at(sim, node).next = sim.free_node
    sim.free_node = node


@plain
def link(sim: Sim, queue: Row, node: int) -> None:
    """Appends a node to a list."""
    if queue.head < 0:
        queue.head = node
    else:
        node_at(sim, queue.tail).next = node
    queue.tail = node


@plain
def put(sim: Sim, server: int, work: int, ref: int) -> None:
    """Queues a job."""
    queue = server_at(sim, server)
    link(sim, queue, new_node(sim, work, ref))
    if queue.idle_head >= 0:
        push(sim, 0.0, PUT, server, NONE)


@inline
def get_job(sim: Sim, thread: int) -> int:
    """A thread asks for its next job; those idle longest are served first. Returns as `match_jobs`."""
    queue = server_at(sim, thread_at(sim, thread).server)
    thread_at(sim, thread).next = -1
    if queue.idle_head < 0:
        queue.idle_head = thread
    else:
        thread_at(sim, queue.idle_tail).next = thread
    queue.idle_tail = thread
    return match_jobs(sim, thread_at(sim, thread).server)


@plain
def match_jobs(sim: Sim, server: int) -> int:
    """Gives the first job of a queue to the thread that waits longest: one at a time, as `simpy.Store` does.

    Returns the thread if nothing else comes before it, which the caller then starts as its last act, else -1.
    """
    queue = server_at(sim, server)
    if queue.head < 0 or queue.idle_head < 0:
        return -1
    node, thread = queue.head, queue.idle_head
    row = thread_at(sim, thread)
    queue.head, queue.idle_head = node_at(sim, node).next, row.next
    row.work, row.ref = node_at(sim, node).work, node_at(sim, node).ref
    free(sim, node)
    if quiet(sim):
        return thread  # type: ignore[no-any-return]
    push(sim, 0.0, GOT, thread, NONE)
    return -1

"""The load generator."""

from __future__ import annotations

from sentra_sim.engine.reference.batcher import BatcherModel
from sentra_sim.engine.reference.world import Process, World
from sentra_sim.scenario import Source, only


def source(world: World, batcher: BatcherModel) -> Process:
    """The load generator's thread: sends each message when it is due, or as soon as the one before is sent."""
    name, spec = only(world.scenario, Source)
    thread = world.thread(world.process[name], low=spec.low_priority)
    send = world.work(name, "send", spec.send)
    network = world.delay(batcher.name, "network", batcher.spec.network)
    first_event = world.plan.first_event.tolist()
    for message, due_s in enumerate(world.plan.offered.send_s.tolist()):
        wait_s = due_s - world.env.now
        if wait_s > 0.0:
            yield world.env.timeout(wait_s)
        yield thread.run(send, 1, first_event[message + 1] - first_event[message])
        network(batcher.arrive, range(first_event[message], first_event[message + 1]))

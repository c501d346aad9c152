"""Jobs that stations run by themselves."""

from __future__ import annotations

from sentra_sim.engine.owners import background_owners, background_purpose
from sentra_sim.engine.reference.hosts import Thread
from sentra_sim.engine.reference.world import Process, World
from sentra_sim.scenario import Log
from sentra_sim.scenario.schema import Background


def start_backgrounds(world: World) -> None:
    """Starts the background jobs of all stations, each on a thread of its own."""
    for name, spec in world.scenario.stations.items():
        for owned, owner in enumerate(background_owners(name, spec)):
            process = world.process[f"{name}-{owned + 1}" if isinstance(spec, Log) else name]
            for number, job in enumerate(spec.background):
                thread = world.thread(process, low=spec.low_priority)
                world.env.process(background(world, (owner, background_purpose(number)), job, thread, process))


def background(world: World, key: tuple[str, str], job: Background, thread: Thread, process: int) -> Process:
    """Runs a job every `every_s`, or as soon as the one before is done, until the load stops; not while its process is down."""
    work = world.work(*key, job.demand)
    due_s = job.every_s * world.plan.phase[key]
    while True:
        wait_s = due_s - world.env.now
        if wait_s > 0.0:
            yield world.env.timeout(wait_s)
        if world.env.now >= world.plan.seconds:
            return
        if process in world.down:
            while due_s <= world.env.now:
                due_s += job.every_s
            continue
        yield thread.run(work, 0, 0)
        due_s += job.every_s

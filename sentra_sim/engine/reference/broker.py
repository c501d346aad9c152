"""One broker of the log: its threads, its disk, and who reaches it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import simpy

from sentra_sim.engine.owners import broker_name
from sentra_sim.engine.reference.request import Request
from sentra_sim.engine.reference.world import Process, World
from sentra_sim.scenario import Log

R = TypeVar("R", bound=Request)


class Broker:
    """One broker: its threads, which append the requests of shards that it leads and replicate those of others."""

    def __init__(self, world: World, name: str, spec: Log, number: int) -> None:
        self.world, self.spec, self.number = world, spec, number
        self.process = world.process[f"{name}-{number + 1}"]
        owner = broker_name(name, number)
        self.append_work = world.work(owner, "append", spec.append)
        self.replicate_work = world.work(owner, "replicate", spec.replicate)
        self.after_replication = world.delay(owner, "replication", spec.replication)
        self.after_fetch = world.delay(owner, "fetch", spec.fetch)
        self.up = True  # answers clients
        self.talking = True  # reaches the other brokers and the controller
        self.latency_s = 0.0  # on the links to clients and to other brokers
        self.jobs = simpy.Store(world.env)
        self.stops = 0
        self.disk_free_s = 0.0
        for _ in range(spec.threads):
            world.env.process(self._serve())

    def append(self, request: Request, then: Callable[[Request], None]) -> None:
        """Queues a request of a shard that it leads; `then` hears when it is written."""
        self.jobs.put((self.append_work, then, request))

    def replicate(self, request: R, then: Callable[[R, int], None]) -> None:
        """Queues what it has of another leader; `then` hears, with the broker's number, when it is written."""
        self.jobs.put((self.replicate_work, partial(self._tell, then), request))

    def stop(self) -> None:
        """Forgets all jobs; what a thread is at is served to its end, for nothing."""
        self.jobs.items.clear()
        self.stops += 1

    def _serve(self) -> Process:
        thread = self.world.thread(self.process, low=self.spec.low_priority)
        while True:
            work, then, request = yield self.jobs.get()
            stops = self.stops
            yield thread.run(work, request.count, request.events)
            if stops != self.stops:
                continue
            if self.spec.disk_bytes_per_s > 0.0:
                self.world.after(self._disk_wait_s(request), then, request)
            else:
                then(request)

    def _disk_wait_s(self, request: Request) -> float:
        """Queues a request's bytes for the disk and returns how long it takes until they are written."""
        free_s = max(self.disk_free_s, self.world.env.now)
        self.disk_free_s = free_s + request.bytes / self.spec.disk_bytes_per_s
        return self.disk_free_s - self.world.env.now

    def _tell(self, then: Callable[[R, int], None], request: R) -> None:
        if not self.up:
            return
        if self.latency_s > 0.0:
            self.world.after(self.latency_s, then, request, self.number)
        else:
            then(request, self.number)

"""Times in which processes or hosts do nothing: pauses by the clock or by work done, and the on and off of a neighbour."""

from __future__ import annotations

from collections.abc import Callable

from sentra_sim.engine.cgroups import cgroups, neighbour_of
from sentra_sim.engine.owners import host_owner, pause_purpose
from sentra_sim.engine.plan import ENDLESS_S
from sentra_sim.engine.reference.hosts import Cgroup, Draws, Thread
from sentra_sim.engine.reference.world import Process, World
from sentra_sim.scenario.schema import Delay, Neighbour, Pause

Switch = Callable[[], None]


def start_vacations(world: World) -> None:
    """Starts the pauses of all processes, then those of hosts, then their neighbours."""
    for cgroup, spec in zip(world.cgroups, cgroups(world.scenario), strict=True):
        pauses = world.scenario.stations[spec.station].pauses if spec.own else ()
        for number, pause in enumerate(pauses):
            draws = _draws(world, spec.owner, number)
            if pause.every_events:
                cgroup.collectors.append(EventCollector(world, cgroup, pause, draws[1]))
            else:
                world.env.process(_turns(world, (pause.gap, pause.length), draws, (cgroup.hold, cgroup.release)))
    for name, host in world.scenario.hosts.items():
        here = world.hosts[name]
        for number, pause in enumerate(host.pauses):
            draws = _draws(world, host_owner(name), number)
            world.env.process(_turns(world, (pause.gap, pause.length), draws, (here.stall, here.go_on)))
    for name, host in world.scenario.hosts.items():
        if host.neighbour:
            _start_turns_of_neighbour(world, name, host.neighbour)
    world.env.process(_neighbours(world))


def _start_turns_of_neighbour(world: World, host: str, spec: Neighbour) -> None:
    cgroup = world.cgroups[neighbour_of(world.scenario, host)]
    if not spec.active:
        cgroup.stop()
    if spec.quiet.mean_s > 0.0:
        cgroup.hold()
        owner = host_owner(host)
        quiet, busy = (Draws(world.plan.multipliers[owner, f"neighbour-{part}"]) for part in ("quiet", "busy"))
        turns = _turns(world, (spec.quiet, spec.busy), (quiet, busy), (cgroup.release, cgroup.hold))
        world.env.process(turns)


def _neighbours(world: World) -> Process:
    """Lets the threads of all neighbours begin; each has one job without end."""
    for name, host in world.scenario.hosts.items():
        for _ in range(host.neighbour.threads if host.neighbour else 0):
            Thread(world.env, world.cgroups[neighbour_of(world.scenario, name)], low=False).burn(ENDLESS_S)
    yield from ()


def _draws(world: World, owner: str, number: int) -> tuple[Draws, Draws]:
    gap, length = (Draws(world.plan.multipliers[owner, pause_purpose(number, part)]) for part in ("gap", "length"))
    return gap, length


def _turns(
    world: World, spec: tuple[Delay, Delay], draws: tuple[Draws, Draws], switches: tuple[Switch, Switch]
) -> Process:
    """Does one thing and then its opposite, each after a time of its own, for ever."""
    while True:
        for delay, numbers, switch in zip(spec, draws, switches, strict=True):
            yield world.env.timeout(delay.mean_s * numbers.next())
            switch()


class EventCollector:
    """A pause of a process each time that its jobs have carried so many events: a collection when the heap is full."""

    def __init__(self, world: World, cgroup: Cgroup, pause: Pause, length: Draws) -> None:
        self.world, self.cgroup, self.pause, self.length = world, cgroup, pause, length
        self.events = 0
        self.busy = False

    def count(self, events: int) -> None:
        """Notes a job that starts."""
        self.events += events
        if self.events >= self.pause.every_events and not self.busy:
            self.events, self.busy = 0, True
            self.world.after(0.0, self._begin)

    def _begin(self) -> None:
        self.cgroup.hold()
        self.world.after(self.pause.length.mean_s * self.length.next(), self._end)

    def _end(self) -> None:
        self.busy = False
        self.cgroup.release()

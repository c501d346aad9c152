"""What changes of processes and hosts do in the reference engine."""

from __future__ import annotations

from sentra_sim.engine.cgroups import neighbour_of
from sentra_sim.engine.changes import Change
from sentra_sim.engine.reference.hosts import Cgroup, Host
from sentra_sim.engine.reference.world import World


def change_process(cgroup: Cgroup, change: Change) -> None:
    """Makes a change of a process."""
    match change.operation:
        case "pause":
            cgroup.stop()
        case "resume":
            cgroup.proceed()
        case "restart":
            cgroup.start_anew()


def change_host(world: World, change: Change) -> None:
    """Makes a change of a host."""
    host = world.hosts[change.subject]
    here = [cgroup for cgroup in world.cgroups if cgroup.host is host]
    match change.operation:
        case "host-down":
            _down(host, here)
        case "host-up":
            _up(host, here)
        case "neighbour":
            neighbour = world.cgroups[neighbour_of(world.scenario, change.subject)]
            (neighbour.proceed if change.value else neighbour.stop)()
        case "slow":
            world.links[change.subject].network_s = change.value
        case "lossy":
            world.links[change.subject].loss = change.value
        case "speed":
            _set_speed(host, here, world.scenario.hosts[change.subject].speed * change.value)


def _down(host: Host, here: list[Cgroup]) -> None:
    if not host.down:
        host.down = True
        for cgroup in here:
            cgroup.hold()


def _up(host: Host, here: list[Cgroup]) -> None:
    """Lets the processes of a host start again: what they had under way begins anew, as its callers send it again."""
    if host.down:
        host.down = False
        for cgroup in here:
            cgroup.start_anew()
            cgroup.release()


def _set_speed(host: Host, here: list[Cgroup], speed: float) -> None:
    """Gives a host's cores another speed; what is left of every job changes with it."""
    ratio, host.speed = host.speed / speed, speed
    running = host.take_all()
    for cgroup in here:
        for thread in cgroup.threads:
            thread.remaining_s *= ratio
            thread.asked_s *= ratio
    host.give_back(running)

"""Rows of hosts, cgroups and vacations for the compiled engine's tables."""

from __future__ import annotations

from collections.abc import Callable

from sentra_sim.engine.cgroups import Cgroup, cgroups, neighbour_of
from sentra_sim.engine.owners import host_owner, pause_purpose
from sentra_sim.engine.plan import LIMIT_PHASE, Plan
from sentra_sim.scenario.schema import Delay, Neighbour, Pause

Row = dict[str, float]
PAUSE, STALL, REST = range(3)  # kinds of vacations: of a process, of a host, of a host's neighbour


class HostRows:
    """The rows of a plan's hosts, cgroups and vacations; `threads` gets those of neighbours as well.

    Args:
        plan: what to run.
        threads: the rows of all other threads, each with the number of its cgroup.
        role: the role of a neighbour's threads.
        delay: adds a delay with its stream and returns its number.
    """

    def __init__(
        self, plan: Plan, threads: list[Row], role: int, delay: Callable[[tuple[str, str], Delay], int]
    ) -> None:
        self.plan, self.threads, self.role, self.delay = plan, threads, role, delay
        self.numbers = {name: number for number, name in enumerate(plan.scenario.hosts)}
        self.vacations: list[Row] = []
        self.cgroups = [self._cgroup(number, each) for number, each in enumerate(cgroups(plan.scenario))]
        for name, host in plan.scenario.hosts.items():
            for at, pause in enumerate(host.pauses):
                self._vacation(STALL, self.numbers[name], (host_owner(name), at), pause)
        for name, host in plan.scenario.hosts.items():
            if host.neighbour:
                self._neighbour(name, host.neighbour)
        for number, thread in reversed(list(enumerate(threads))):  # each cgroup's list in the threads' order
            row = self.cgroups[int(thread["cgroup"])]
            thread["sibling"], row["thread_head"] = row["thread_head"], number
        self.hosts = self._hosts()

    def _cgroup(self, number: int, each: Cgroup) -> Row:
        row: Row = {"host": self.numbers[each.host], "thread_head": -1, "parked_head": -1, "reply": -1}
        if not each.own:
            return row
        station = self.plan.scenario.stations[each.station]
        if station.cpu_limit_cores > 0.0:
            period_s = station.cpu_period_s
            end_s = period_s * self.plan.phase[each.owner, LIMIT_PHASE]
            row |= {"quota": station.cpu_limit_cores * period_s, "period": period_s, "end": end_s}
        if station.warmup:
            row |= {"warm_factor": station.warmup.factor, "warm_cpu": station.warmup.cpu_s}
        collectors = sum(pause.every_events > 0 for pause in station.pauses)
        row |= {"collector_first": len(self.vacations), "collectors": collectors}
        for at, pause in sorted(enumerate(station.pauses), key=lambda pause: pause[1].every_events == 0):
            self._vacation(PAUSE, number, (each.owner, at), pause)
        return row

    def _vacation(self, kind: int, subject: int, key: tuple[str, int], pause: Pause) -> None:
        gap = self.delay((key[0], pause_purpose(key[1], "gap")), pause.gap)
        length = self.delay((key[0], pause_purpose(key[1], "length")), pause.length)
        row: Row = {"kind": kind, "subject": subject, "gap": gap, "length": length, "every": pause.every_events}
        self.vacations.append(row)

    def _neighbour(self, host: str, spec: Neighbour) -> None:
        scenario, at = self.plan.scenario, self.numbers[host]
        number = neighbour_of(scenario, host)
        turns = spec.quiet.mean_s > 0.0
        self.cgroups[number] |= {"stopped": not spec.active, "holds": (not spec.active) + turns}
        thread: Row = {"role": self.role, "server": -1, "host": at, "lane": 2 * at, "finished": -1.0}
        thread |= {"cgroup": number, "process": cgroups(scenario)[number].process}
        self.threads.extend(dict(thread) for _ in range(spec.threads))
        if turns:
            quiet = self.delay((host_owner(host), "neighbour-quiet"), spec.quiet)
            busy = self.delay((host_owner(host), "neighbour-busy"), spec.busy)
            self.vacations.append({"kind": REST, "subject": number, "gap": quiet, "length": busy})

    def _hosts(self) -> list[Row]:
        rows: list[Row] = []
        for name, host in self.plan.scenario.hosts.items():
            here = [row for row in self.cgroups if row["host"] == self.numbers[name]]
            rows.append(
                {
                    "cores": host.cores,
                    "all_cores": host.cores,
                    "idle": host.cores,
                    "ps": host.discipline == "ps",
                    "slice": host.slice_s,
                    "speed": host.speed,
                    "first_speed": host.speed,
                    "network": host.network_s,
                    "loss": host.loss,
                    "watched": sum(_looks(row) for row in here),
                    "limited": any(row.get("quota", 0.0) > 0.0 for row in here),
                }
            )
        return rows


def _looks(cgroup: Row) -> int:
    """Tells how often a cgroup makes its host look closer at jobs that start: once for what it is, once while it is held."""
    special = cgroup.get("collectors", 0) > 0 or cgroup.get("warm_cpu", 0.0) > 0.0
    return int(special) + int(cgroup.get("holds", 0) > 0)

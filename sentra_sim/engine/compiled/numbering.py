"""Numbers for what a scenario has of threads, queues, kinds of work, delays and streams of random numbers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sentra_sim.engine.cgroups import first_cgroups
from sentra_sim.engine.network import ways
from sentra_sim.engine.numbers import Numbers
from sentra_sim.engine.owners import station_of
from sentra_sim.engine.plan import Plan
from sentra_sim.scenario import Broadcast, Log, Scenario
from sentra_sim.scenario.schema import AnyStation, Delay, Demand

Row = dict[str, float]


class Feed(NamedTuple):
    """A stream of random numbers and the row of a table that reads it."""

    table: str
    row: int
    numbers: Numbers


class Numbering:
    """Gives every thread, queue, work and delay its number, in the order in which it is asked to."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        scenario = plan.scenario
        self.hosts = {name: number for number, name in enumerate(scenario.hosts)}
        self.process = _first_process(scenario)
        self.cgroup = first_cgroups(scenario)
        self.ways = ways(scenario)
        self.threads: list[Row] = []
        self.works: list[Row] = []
        self.works_of: dict[str, list[int]] = {name: [] for name in scenario.stations}
        self.delays: list[Row] = []
        self.feeds: list[Feed] = []
        self.one = np.ones(1)  # the numbers of every constant stream
        self.servers = 0

    def _draw(self, key: tuple[str, str], table: str, row: int) -> Row:
        numbers = self.plan.multipliers[key]
        if numbers.constant:
            return {"stream": -1, "numbers": self.one.ctypes.data, "draw_count": 1}
        self.feeds.append(Feed(table, row, numbers))
        return {"stream": len(self.feeds) - 1}

    def _work(self, key: tuple[str, str], demand: Demand) -> int:
        self.works_of[station_of(key[0])].append(len(self.works))
        self.works.append(
            self._draw(key, "works", len(self.works))
            | {
                "job": demand.job_s,
                "factor": 1.0,
                "frame": demand.frame_s,
                "event": demand.event_s,
                "cold": demand.cold_s,
                "tau": demand.cold_tau_s,
            }
        )
        return len(self.works) - 1

    def _delay(self, key: tuple[str, str], delay: Delay) -> int:
        row = self._draw(key, "delays", len(self.delays)) | {"mean": delay.mean_s}
        if way := self.ways.get((station_of(key[0]), key[1])):
            row |= {"crosses": 1, "from_host": self.hosts[way[0]], "to_host": self.hosts[way[1]]}
        self.delays.append(row)
        return len(self.delays) - 1

    def _server(self) -> int:
        self.servers += 1
        return self.servers - 1

    def _thread(
        self, role: int, unit: int, station: AnyStation, process: int, host: str, *, server: int = -1, replica: int = 0
    ) -> int:
        at, low = self.hosts[host], int(station.low_priority)
        self.threads.append(
            {
                "role": role,
                "unit": unit,
                "server": server,
                "host": at,
                "lane": 2 * at + low,
                "low": low,
                "process": process,
                "finished": -1.0,
                "cgroup": self.cgroup[process] + replica,
            }
        )
        return len(self.threads) - 1

    def _own_thread(self, role: int, unit: int, name: str) -> int:
        """Adds a thread of a station that takes its jobs from no queue that others know of."""
        station = self.plan.scenario.stations[name]
        return self._thread(role, unit, station, self.process[name], station.host)

    def _queue(self, role: int, unit: int, station: AnyStation, process: int, host: str, *, threads: int) -> int:
        """Adds a queue and the threads that serve it, which wait in their order."""
        server = self._server()
        for _ in range(threads):
            self._thread(role, unit, station, process, host, server=server)
        return server


def _first_process(scenario: Scenario) -> dict[str, int]:
    """Returns the number of each station's first process, in the order of `processes`."""
    first: dict[str, int] = {}
    number = 0
    for name, station in scenario.stations.items():
        first[name] = number
        number += station.brokers if isinstance(station, Log) else 2 if isinstance(station, Broadcast) else 1
    return first

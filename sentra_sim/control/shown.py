"""What a plant shows of a window: one way of counting for the simulated plant, by the names of the live one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sentra_sim.control.recent import Passed
from sentra_sim.kpi import QUANTILES, final_hop
from sentra_sim.scenario import INTENDED, ConsumerGroup, Log, Scenario, Store, hop_edges, only, processes
from sentra_sim.scenario.lanes import lanes_of_partitions

Floats = NDArray[np.float64]


class Shown:
    """Computes a pipeline's metrics of a window; see `Plant.metrics` for their names."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.hops = {edge.hop: number for number, edge in enumerate(hop_edges(scenario))}
        self.acked = self.hops[only(scenario, Log)[1].hop]
        self.started = self.hops[only(scenario, ConsumerGroup)[1].hop]
        self.final = self.hops[final_hop(scenario)]
        self.spans = {name: (span.start, span.end) for name, span in scenario.kpis.items()}
        self.processes = processes(scenario)
        self.stores = _hops_around(scenario, self.hops)
        log = only(scenario, Log)[1]
        self.lanes = {lane.name: number for number, lane in enumerate(log.lanes)}
        self.lane = np.array(lanes_of_partitions(log))

    def rates(self, passed: Passed, dropped: int, start_s: float, end_s: float) -> dict[str, float]:
        """Returns events/s at every hop, `throughput_eps` of the last one of the end-to-end way, and `error_rate`.

        `dropped`: the frames that ended on the way; without any that ended there is no rate of errors to tell.
        """
        inside = (passed.hops_s > start_s) & (passed.hops_s <= end_s)
        events = passed.events.astype(np.float64) @ inside / (end_s - start_s)
        found = {f"{hop}_eps": float(events[number]) for hop, number in self.hops.items()}
        found |= {"throughput_eps": float(events[self.final])}
        ended = dropped + int(inside[:, self.final].sum())
        return found | ({"error_rate": dropped / ended} if ended else {})

    def times(self, passed: Passed, start_s: float, end_s: float) -> dict[str, float]:
        """Returns the quantiles of every span, over the events that came to its end within the window."""
        found: dict[str, float] = {}
        for name, (begin, end) in self.spans.items():
            ended = passed.hops_s[:, self.hops[end]]
            inside = (ended > start_s) & (ended <= end_s)
            if not passed.events[inside].any():
                continue
            if begin == INTENDED:
                here = inside[passed.row]
                values = np.quantile(ended[passed.row[here]] - passed.intended_s[here], list(QUANTILES.values()))
            else:
                took_s = ended[inside] - passed.hops_s[inside, self.hops[begin]]
                values = _quantiles(took_s, passed.events[inside], np.array(list(QUANTILES.values())))
            found |= {f"{name}_{label}_s": float(value) for label, value in zip(QUANTILES, values, strict=True)}
        return found

    def lag(self, passed: Passed, end_s: float) -> dict[str, float]:
        """Returns what is acknowledged and not taken: events, age of the oldest, partitions that it lies in."""
        behind = np.isfinite(passed.hops_s[:, self.acked]) & np.isnan(passed.hops_s[:, self.started])
        oldest_s = passed.hops_s[behind, self.acked].min(initial=end_s)
        return {
            "lag_events": float(passed.events[behind].sum()),
            "lag_s": end_s - float(oldest_s),
            "lag_partitions": float(len(np.unique(passed.partition[behind]))),
        }

    def backlogs(self, passed: Passed) -> dict[str, float]:
        """Returns the events that came to each store that may have more replicas, and that it has not made visible."""
        come = np.isfinite(passed.hops_s)
        return {
            f"{name}.backlog_events": float(passed.events[come[:, before] & ~come[:, hop]].sum())
            for name, (before, hop) in self.stores.items()
        }

    def by_lane(self, passed: Passed, start_s: float, end_s: float) -> dict[str, float]:
        """Returns lag and times of each lane of the log by itself, as `lane.name`."""
        found: dict[str, float] = {}
        for lane, number in self.lanes.items():
            mine = passed.taking(self.lane[passed.partition] == number)
            values = self.lag(mine, end_s) | self.times(mine, start_s, end_s)
            found |= {f"{lane}.{name}": value for name, value in values.items()}
        return found

    def cpu(self, cpu_s: Floats, start_s: float, end_s: float) -> dict[str, float]:
        """Returns the cores kept busy in the window's whole seconds, in all and by process; nothing without one."""
        first, last = int(np.ceil(start_s)), int(np.floor(end_s))
        if last <= first:
            return {}
        cores = cpu_s[:, first:last].sum(axis=1) / (last - first)
        by_process = {f"{name}.cpu_cores": float(value) for name, value in zip(self.processes, cores, strict=True)}
        return {"cpu_cores": float(cores.sum())} | by_process


def scalable_stores(scenario: Scenario) -> dict[str, Store]:
    """Returns the stores that may have more replicas than one, by name."""
    return {
        name: station
        for name, station in scenario.stations.items()
        if isinstance(station, Store) and station.most_replicas > 1
    }


def _hops_around(scenario: Scenario, numbers: dict[str, int]) -> dict[str, tuple[int, int]]:
    """Returns for each such store the numbers of the hop before it and of its own."""
    stores = scalable_stores(scenario)
    return {
        edge.station: (numbers[edge.after], numbers[edge.hop]) for edge in hop_edges(scenario) if edge.station in stores
    }


def _quantiles(values: Floats, counts: NDArray[np.int64], shares: Floats) -> Floats:
    """Does what `np.quantile` does with each value as often as its count says, without writing it out so often."""
    order = np.argsort(values)
    ends = np.cumsum(counts[order])
    at = shares * (ends[-1] - 1)
    low = np.floor(at)
    first, after = (values[order[np.searchsorted(ends, rank, side="right")]] for rank in (low, np.ceil(at)))
    return np.asarray(first + (after - first) * (at - low))

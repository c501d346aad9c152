"""Which stations can be played apart from all others: what they do follows from what comes to them alone."""

from __future__ import annotations

from collections import Counter

from sentra_sim.scenario import Broadcast, ConsumerGroup, Pool, Scenario, Store, hop_edges, only
from sentra_sim.scenario.schema import AnyStation

MOST_THREADS = 16  # as whose turn it is, is found by looking at all of them


def stations_apart(scenario: Scenario) -> dict[str, str]:
    """Returns the stations that nobody waits for, alone on hosts with a core for each thread, and what leads to each.

    Those that a station leads to come after it. Only while nothing is changed from outside do they stay so.
    """
    found: dict[str, str] = {}
    for edge in hop_edges(scenario):
        if edge.station in scenario.stations:
            before = _leads_to(scenario, edge.station)
            if before in found or (_hands_on_at_once(scenario, before) and _all_apart(scenario, edge.station)):
                found[edge.station] = before
    return found


def _leads_to(scenario: Scenario, name: str) -> str:
    return next((other for other, station in scenario.stations.items() if name in _next(station)), "")


def _next(station: AnyStation) -> list[str]:
    return list(station.to) if isinstance(station, Pool | Store) else []


def _hands_on_at_once(scenario: Scenario, name: str) -> bool:
    """Tells whether what a station hands on comes at the time of its hop."""
    return name in scenario.stations and _serves_a_queue(scenario.stations[name])


def _serves_a_queue(station: AnyStation) -> bool:
    if isinstance(station, Store):
        return station.flush_s == 0.0 and not station.is_transactional and not station.is_columnar
    return isinstance(station, Pool) and not station.releases and station.recovery is None


def _all_apart(scenario: Scenario, name: str) -> bool:
    """Tells whether a station and all that it leads to are apart."""
    return _is_apart(scenario, name) and all(_all_apart(scenario, after) for after in _next(scenario.stations[name]))


def _is_apart(scenario: Scenario, name: str) -> bool:
    station = scenario.stations[name]
    if not _serves_a_queue(station) or name in only(scenario, ConsumerGroup)[1].calls:
        return False
    assert isinstance(station, Pool | Store)
    host = scenario.hosts[station.host]
    return (
        station.threads <= min(host.cores, MOST_THREADS)
        and _placed(scenario)[station.host] == 1
        and host.discipline == "fifo-slice"
        and host.neighbour is None
        and not (host.pauses or host.network_s or host.loss)
        and not (station.background or station.pauses or station.cpu_limit_cores or station.warmup)
        and station.demand.cold_s == 0.0
        and station.delay.mean_s == 0.0
    )


def _placed(scenario: Scenario) -> Counter[str]:
    """Counts what is on each host."""
    found = Counter(station.host for station in scenario.stations.values())
    found.update(station.subscriber_host for station in scenario.stations.values() if isinstance(station, Broadcast))
    return found

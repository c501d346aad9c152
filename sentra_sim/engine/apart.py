"""Which stations can be played apart from all others: what they do follows from what comes to them alone."""

from __future__ import annotations

from collections import Counter

from sentra_sim.scenario import Broadcast, ConsumerGroup, Pool, Scenario, Store, hop_edges, only
from sentra_sim.scenario.schema import AnyStation

MOST_THREADS = 16  # as whose turn it is, is found by looking at all of them


def stations_apart(scenario: Scenario) -> dict[str, str]:
    """Returns the stations that nobody waits for, alone on hosts with a core for each thread, and what leads to each.

    Those that a station leads to come after it. Only while nothing is changed from outside do they stay so, and no poll is taken twice.
    """
    if only(scenario, ConsumerGroup)[1].max_poll_interval_s > 0.0:
        return {}
    names = list(dict.fromkeys(edge.station for edge in hop_edges(scenario)))  # what leads to a station comes before it
    before = {after: name for name in names for after in _next(scenario.stations[name])}
    placed, alone = _placed(scenario), set[str]()
    for name in reversed(names):
        if _is_alone(scenario, name, placed) and alone.issuperset(_next(scenario.stations[name])):
            alone.add(name)
    # What comes to one is there at the time of the hop before it.
    return {name: before[name] for name in names if name in alone and _serves_a_queue(scenario.stations[before[name]])}


def _next(station: AnyStation) -> tuple[str, ...]:
    return station.to if isinstance(station, Pool | Store) else ()


def _serves_a_queue(station: AnyStation) -> bool:
    if isinstance(station, Store):
        return station.flush_s == 0.0 and not station.is_transactional and not station.is_columnar
    return isinstance(station, Pool) and not station.releases and station.recovery is None


def _is_alone(scenario: Scenario, name: str, placed: Counter[str]) -> bool:
    station = scenario.stations[name]
    if not _serves_a_queue(station) or name in only(scenario, ConsumerGroup)[1].calls:
        return False
    assert isinstance(station, Pool | Store)
    host = scenario.hosts[station.host]
    return (
        station.threads <= min(host.cores, MOST_THREADS)
        and placed[station.host] == 1
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

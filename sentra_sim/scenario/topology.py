"""What the stations of a scenario form: edges, hops in order, rules that a schema alone cannot hold."""

from __future__ import annotations

import difflib
from collections import Counter
from dataclasses import dataclass
from typing import TypeVar

from sentra_sim.errors import ScenarioError
from sentra_sim.scenario.lanes import check_lanes
from sentra_sim.scenario.schema import (
    Admission,
    AnyStation,
    Batcher,
    Broadcast,
    ConsumerGroup,
    Log,
    Pool,
    Scenario,
    Source,
    Store,
)

INTENDED = "intended"
STABLE_NAME = "stable"  # the release that is a pool's own demand
FLOW_KPIS = (
    "throughput_eps",
    "delivered_ratio",
    "error_rate",
    "backlog_growth_eps",
    "lag_p95_events",
    "lag_max_events",
    "lag_max_s",
    "cpu_cores",
    "cpu_us_per_event",
    "error_budget_per_day",
    "cost_per_hour",
    "cost_per_million_events",
)

T = TypeVar("T", Source, Batcher, Log, ConsumerGroup)


@dataclass(frozen=True)
class HopEdge:
    """A hop, the hop that precedes it on every frame's way, and the station that writes it."""

    hop: str
    after: str
    station: str


def only(scenario: Scenario, kind: type[T]) -> tuple[str, T]:
    """Returns name and station of the one station of a kind that a pipeline has once."""
    return next((name, station) for name, station in scenario.stations.items() if isinstance(station, kind))


def successors(station: AnyStation) -> tuple[str, ...]:
    """Returns the names of the stations that a station hands frames to or calls, in order."""
    if isinstance(station, Source | Batcher | Log):
        return (station.to,)
    if isinstance(station, ConsumerGroup):
        return station.calls
    if isinstance(station, Pool | Store):
        return station.to
    return ()


def hop_edges(scenario: Scenario) -> tuple[HopEdge, ...]:
    """Returns every hop with its predecessor, in the order of a frame's way; the first follows `intended`."""
    edges: list[HopEdge] = []
    batcher_name, batcher = only(scenario, Batcher)
    log_name, log = only(scenario, Log)
    group_name, group = only(scenario, ConsumerGroup)
    edges.append(HopEdge(batcher.hops[0], INTENDED, batcher_name))
    edges.append(HopEdge(batcher.hops[1], batcher.hops[0], batcher_name))
    edges.append(HopEdge(log.hop, batcher.hops[1], log_name))
    edges.append(HopEdge(group.hop, log.hop, group_name))
    previous = group.hop
    for name in group.calls:
        _descend(scenario, name, previous, edges)
        called = scenario.stations[name]
        assert isinstance(called, Pool | Store)  # held by check_topology
        previous = called.hop
    return tuple(edges)


def effect_hop(scenario: Scenario) -> str:
    """Returns the hop at which a frame takes effect: in the first store that the group calls, else in the last station, else at work."""
    _, group = only(scenario, ConsumerGroup)
    called = [scenario.stations[name] for name in group.calls]
    stores = [station for station in called if isinstance(station, Store)]
    deciding: list[AnyStation] = [*stores[:1], *called[-1:], group]
    assert isinstance(deciding[0], Pool | Store | ConsumerGroup)  # held by check_topology
    return deciding[0].hop


def kpi_names(scenario: Scenario) -> tuple[str, ...]:
    """Returns the names of the KPIs of a run of the scenario, in the order in which `sentra_sim.kpi` computes them."""
    return (*(f"{span}_{quantile}_s" for span in scenario.kpis for quantile in ("p50", "p95", "p99")), *FLOW_KPIS)


def processes(scenario: Scenario) -> tuple[str, ...]:
    """Returns the names under which CPU is accounted: a station each, one per broker of a log, one for a broadcast's subscriber.

    The subscriber's is `subscriber`, or with several broadcasts the broadcast's name and `-subscriber`.
    """
    several = sum(isinstance(station, Broadcast) for station in scenario.stations.values()) > 1
    names: list[str] = []
    for name, station in scenario.stations.items():
        if isinstance(station, Log):
            names.extend(f"{name}-{number + 1}" for number in range(station.brokers))
        elif isinstance(station, Broadcast):
            names.extend((name, f"{name}-subscriber" if several else "subscriber"))
        else:
            names.append(name)
    return tuple(names)


def _descend(scenario: Scenario, name: str, after: str, edges: list[HopEdge]) -> None:
    ahead = [(name, after)]  # a stack, as a chain of stations may be longer than Python's
    while ahead:
        name, after = ahead.pop()
        station = scenario.stations[name]
        if isinstance(station, Broadcast):
            edges.append(HopEdge(station.hops[0], after, name))
            edges.append(HopEdge(station.hops[1], station.hops[0], name))
        elif isinstance(station, Pool | Store):
            edges.append(HopEdge(station.hop, after, name))
            ahead.extend((successor, station.hop) for successor in reversed(station.to))


def branches_apart(scenario: Scenario, one: str, other: str) -> bool:
    """Tells whether neither of two hops lies on a frame's way to the other: what happens on one branch waits for nothing on the other."""
    return other not in _way_to(scenario, one) and one not in _way_to(scenario, other)


def _way_to(scenario: Scenario, hop: str) -> list[str]:
    """Returns the hops on a frame's way to a hop, itself first, `intended` last."""
    before = {edge.hop: edge.after for edge in hop_edges(scenario)}
    way = [hop]
    while way[-1] != INTENDED:
        way.append(before[way[-1]])
    return way


def check_topology(scenario: Scenario, *, place: str) -> None:
    """Checks what crosses stations: names that exist, kinds that fit, hops that are unique, no station out of reach.

    Raises:
        ScenarioError: the first broken rule, in one line.
    """
    for kind in (Source, Batcher, Log, ConsumerGroup):
        count = sum(isinstance(station, kind) for station in scenario.stations.values())
        if count != 1:
            word = kind.model_fields["kind"].annotation.__args__[0]  # type: ignore[union-attr]
            raise ScenarioError(f"{place}: stations: must hold exactly one {word}, got {count}; add or remove one")
    for name, station in scenario.stations.items():
        _check_station(scenario, name, station, place)
    _check_reach(scenario, place)
    _check_releases(scenario, place)
    _check_failures(scenario, place)
    check_lanes(only(scenario, Log), only(scenario, ConsumerGroup), scenario.load.tenants, place)
    edges = hop_edges(scenario)
    _check_hops(scenario, [edge.hop for edge in edges], place)
    _check_slo(scenario, place)


def _check_station(scenario: Scenario, name: str, station: AnyStation, place: str) -> None:
    where = f"{place}: stations.{name}"
    hosts = {"host": station.host}
    if isinstance(station, Broadcast):
        hosts["subscriber_host"] = station.subscriber_host
    for key, host in hosts.items():
        if host not in scenario.hosts:
            raise ScenarioError(f"{where}.{key}: must name a host, got {host!r}; {_offer(host, list(scenario.hosts))}")
    key, allowed = _next_kinds(station)
    for successor in successors(station):
        if successor not in scenario.stations:
            raise ScenarioError(
                f"{where}.{key}: must name a station, got {successor!r}; {_offer(successor, list(scenario.stations))}"
            )
        if not isinstance(scenario.stations[successor], allowed):
            kinds = " or ".join(kind.__name__.lower() for kind in allowed)
            raise ScenarioError(
                f"{where}.{key}: must lead to a {kinds}, got {successor!r}, a {scenario.stations[successor].kind}; mend the edge"
            )
    if isinstance(station, Log):
        _check_log(station, where)
    if station.cpu_limit_cores > 0.0 and scenario.hosts[station.host].discipline == "ps":
        raise ScenarioError(
            f"{where}.cpu_limit_cores: must be of a station on a host with discipline fifo-slice, got one on "
            f"{station.host!r} with ps; set its discipline or leave the limit out"
        )
    if isinstance(station, Batcher) and station.admission:
        _check_admission(station.admission, scenario.load.tenants, where)


def _next_kinds(station: AnyStation) -> tuple[str, tuple[type, ...]]:
    if isinstance(station, Source):
        return "to", (Batcher,)
    if isinstance(station, Batcher):
        return "to", (Log,)
    if isinstance(station, Log):
        return "to", (ConsumerGroup,)
    if isinstance(station, ConsumerGroup):
        return "calls", (Pool, Store)
    return "to", (Pool, Store, Broadcast)


def _check_admission(rules: Admission, tenants: int, where: str) -> None:
    named = {*rules.silver, *rules.bronze, *(quota.tenant for quota in rules.quotas)}
    if foreign := sorted(tenant for tenant in named if tenant >= tenants):
        raise ScenarioError(
            f"{where}.admission: must name tenants 0 to {tenants - 1}, got {foreign}; raise load.tenants"
        )
    if rules.weights and len(rules.weights) != tenants:
        raise ScenarioError(
            f"{where}.admission.weights: must be of all {tenants} tenants, got {len(rules.weights)}; write one for each"
        )


def _check_log(log: Log, where: str) -> None:
    if log.replication_factor > log.brokers:
        raise ScenarioError(
            f"{where}.replication_factor: must be <= brokers ({log.brokers}), got {log.replication_factor}; add brokers or lower it"
        )
    if log.min_insync_replicas > log.replication_factor:
        raise ScenarioError(
            f"{where}.min_insync_replicas: must be <= replication_factor ({log.replication_factor}), "
            f"got {log.min_insync_replicas}; lower it"
        )
    if log.controller > log.brokers:
        raise ScenarioError(
            f"{where}.controller: must be <= brokers ({log.brokers}), got {log.controller}; write 0 for one that is no broker"
        )


def _check_reach(scenario: Scenario, place: str) -> None:
    source, _ = only(scenario, Source)
    before: dict[str, str] = {}  # of each station reached, the one that leads to it
    ahead = [(source, "")]  # a stack, as a chain of stations may be longer than Python's
    while ahead:
        name, last = ahead.pop()
        if name in before:
            _refuse_second_way(before, last, name, place)
        before[name] = last
        ahead.extend((successor, name) for successor in reversed(successors(scenario.stations[name])))
    for name in scenario.stations:
        if name not in before:
            raise ScenarioError(
                f"{place}: stations.{name}: must be reached from the source, got no edge to it; name it in a `to` or `calls`"
            )


def _refuse_second_way(before: dict[str, str], last: str, name: str, place: str) -> None:
    way = [last]
    while before[way[-1]]:
        way.append(before[way[-1]])
    if name in way:
        trail = " -> ".join([*reversed(way), name])
        raise ScenarioError(f"{place}: stations.{name}: must not be reached from itself, got {trail}; cut one edge")
    raise ScenarioError(
        f"{place}: stations.{name}: must be reached by one way, got a second from {last!r}; remove one edge"
    )


def _check_failures(scenario: Scenario, place: str) -> None:
    called = only(scenario, ConsumerGroup)[1].calls
    for name, station in scenario.stations.items():
        if isinstance(station, Pool | Store) and station.failure is not None and name not in called:
            raise ScenarioError(
                f"{place}: stations.{name}.failure: must be of a station that the consumer group calls, got one behind it; remove it"
            )


def _check_releases(scenario: Scenario, place: str) -> None:
    pools = [(name, pool) for name, pool in scenario.stations.items() if isinstance(pool, Pool) and pool.releases]
    if len(pools) > 1:
        names = ", ".join(name for name, _ in pools)
        raise ScenarioError(f"{place}: stations: must have releases in one pool at most, got {names}; keep one")
    for name, pool in pools:
        weighted = [release for release, spec in pool.releases.items() if spec.weight > 0.0]
        if len(weighted) > 1:
            raise ScenarioError(
                f"{place}: stations.{name}.releases: must give weight to one release at most, "
                f"got {', '.join(weighted)}; set the others to 0"
            )
        if STABLE_NAME in pool.releases:
            raise ScenarioError(
                f"{place}: stations.{name}.releases.{STABLE_NAME}: must be another name, for {STABLE_NAME} is the pool's own demand; "
                "write that under demand"
            )


def _check_hops(scenario: Scenario, hops: list[str], place: str) -> None:
    counts = Counter(hops)
    for hop in hops:
        if counts[hop] > 1 or hop == INTENDED:
            raise ScenarioError(
                f"{place}: stations: hop names must be unique and not {INTENDED!r}, got {hop!r} again; rename one"
            )
    for kpi, span in scenario.kpis.items():
        for key, hop in (("from", span.start), ("to", span.end)):
            if hop not in (INTENDED, *hops):
                raise ScenarioError(
                    f"{place}: kpis.{kpi}.{key}: must name a hop, got {hop!r}; {_offer(hop, [INTENDED, *hops])}"
                )
        if span.end in _way_to(scenario, span.start):
            raise ScenarioError(
                f"{place}: kpis.{kpi}.to: must come after from ({span.start!r}) on a frame's way, got {span.end!r}; "
                "swap the two, or name a later hop"
            )


def _check_slo(scenario: Scenario, place: str) -> None:
    # A bound on a KPI that does not exist would never be judged, and look held.
    valid = kpi_names(scenario)
    for name in scenario.slo:
        if name not in valid:
            raise ScenarioError(f"{place}: slo.{name}: must name a KPI, got {name!r}; {_offer(name, list(valid))}")


def _offer(name: str, valid: list[str]) -> str:
    if not valid:
        return "add one"
    close = difflib.get_close_matches(name, valid, n=1)
    return f"did you mean {close[0]!r}?" if close else f"valid names: {', '.join(valid)}"

"""The network between hosts: which delays lie on a way from one host to another."""

from __future__ import annotations

from sentra_sim.scenario import Batcher, Broadcast, ConsumerGroup, Log, Scenario, Source, only, successors

# TCP's retransmission timeout: at least 200 ms (Linux's TCP_RTO_MIN), doubled with each loss up to TCP_RTO_MAX, 15 times at most
# (net.ipv4.tcp_retries2).
RTO_MIN_S, RTO_MAX_S, RETRIES = 0.2, 120.0, 15


def ways(scenario: Scenario) -> dict[tuple[str, str], tuple[str, str]]:
    """Returns the two hosts between which a delay lies, by station and purpose, for delays between two different hosts.

    These are a message's way to the batcher, a fetch, a called station's answer, the handover to an edge and its way to the
    subscriber. What a request costs on its way there is part of the delay of its answer.
    """
    batcher_name, batcher = only(scenario, Batcher)
    log_name, log = only(scenario, Log)
    group = only(scenario, ConsumerGroup)[1]
    found = {
        (batcher_name, "network"): (only(scenario, Source)[1].host, batcher.host),
        (log_name, "fetch"): (log.host, group.host),
    }
    found |= {(name, "delay"): (scenario.stations[name].host, group.host) for name in group.calls}
    for station in scenario.stations.values():
        for name in successors(station):
            edge = scenario.stations[name]
            if isinstance(edge, Broadcast):
                found[name, "handover"] = (station.host, edge.host)
                found[name, "network"] = (edge.host, edge.subscriber_host)
    return {key: way for key, way in found.items() if way[0] != way[1]}

"""Which runs of the compiled engine use rows again: those in which what has come to all its hops is looked at by nobody."""

from __future__ import annotations

from sentra_sim.engine.facts import tells_events_apart
from sentra_sim.scenario import ConsumerGroup, Scenario, Store, hop_edges, only
from sentra_sim.scenario.topology import successors


def recycles(scenario: Scenario) -> bool:
    """Tells whether rows are used again, until a consumer is killed (`membership.put_back`).

    Not where single events are told apart, nor where a relay hands polls on to nobody: they lie in its outbox beyond their last hop.
    Nor where consumers' fetches wait at brokers: they list frames that may have been lost meanwhile.
    """
    relayed_to_nobody = any(
        isinstance(station, Store) and station.relay is not None and not station.to
        for station in scenario.stations.values()
    )
    fetches_wait = only(scenario, ConsumerGroup)[1].fetch_min_bytes > 1
    return not (tells_events_apart(scenario) or relayed_to_nobody or fetches_wait)


def hop_calls(scenario: Scenario) -> list[int]:
    """Returns, by hop, the number of the consumer group's call that leads to it, -1 for those before any."""
    call_of: dict[str, int] = {}
    ahead = [(name, call) for call, name in enumerate(only(scenario, ConsumerGroup)[1].calls)]
    while ahead:
        name, call = ahead.pop()
        call_of[name] = call
        ahead.extend((successor, call) for successor in successors(scenario.stations[name]))
    return [call_of.get(edge.station, -1) for edge in hop_edges(scenario)]

"""What a scenario asks for beyond the plain course of its frames."""

from __future__ import annotations

from sentra_sim.scenario import Batcher, ConsumerGroup, Pool, Scenario, Source, Store, only


def most_sends(scenario: Scenario) -> int:
    """Returns how often a message is sent at most."""
    retry = only(scenario, Source)[1].retry
    return 1 + retry.retries if retry else 1


def is_tracked(scenario: Scenario) -> bool:
    """Tells whether copies of events are tracked: a rule of admission, an impatient client or a gateway that may end needs it."""
    batcher = only(scenario, Batcher)[1]
    return only(scenario, Source)[1].retry is not None or batcher.admission is not None or batcher.recovery is not None


def tells_events_apart(scenario: Scenario) -> bool:
    """Tells whether what becomes of an event depends on which one it is, beside its partition."""
    return is_tracked(scenario) or has_releases(scenario) or has_poison(scenario)


def has_releases(scenario: Scenario) -> bool:
    """Tells whether a pool has releases beside stable."""
    return any(isinstance(station, Pool) and station.releases for station in scenario.stations.values())


def has_poison(scenario: Scenario) -> bool:
    """Tells whether a share of the events may be poison: fail whenever they are processed."""
    return only(scenario, ConsumerGroup)[1].poison_share is not None


def calls_may_fail(scenario: Scenario) -> bool:
    """Tells whether a station that consumers call may fail."""
    stations = scenario.stations.values()
    return any(isinstance(station, Pool | Store) and station.failure is not None for station in stations)


def backs_off(scenario: Scenario) -> bool:
    """Tells whether consumers may have to try something again."""
    group = only(scenario, ConsumerGroup)[1]
    return calls_may_fail(scenario) or (has_poison(scenario) and not group.dlq)

"""Deploys of the consumer group as timetables of changes: what an orchestrator does to it, wave by wave."""

from __future__ import annotations

from collections.abc import Iterator

from sentra_sim.engine.changes import Change
from sentra_sim.errors import InputError
from sentra_sim.scenario import ConsumerGroup, Scenario, only


def rolling_restart(
    scenario: Scenario, *, at_s: float, drain_s: float, max_unavailable: int = 1, settle_s: float = 0.0
) -> list[Change]:
    """Returns the timetable of a rolling restart of all consumers that a scenario starts with, in order of their numbers.

    Each is asked to end, which lets it finish its poll, commit and leave the group; if it has not ended `drain_s` later it is
    killed. Then its replacement starts, which is ready the group's `ready_s` later. At most `max_unavailable` consumers
    are down at a time; the next ones follow `settle_s` after the last are ready. In Kubernetes these are
    `terminationGracePeriodSeconds`, a PodDisruptionBudget's `maxUnavailable` and `minReadySeconds`.

    Raises:
        InputError: a time is negative, or nothing may be unavailable.

    Example:
        >>> from sentra_sim.scenario import load_scenario
        >>> scenario = load_scenario("data/scenarios/sentra.yaml")
        >>> [change.operation for change in rolling_restart(scenario, at_s=10.0, drain_s=5.0)]
        ['stop', 'kill', 'start']
    """
    if max_unavailable < 1:
        raise InputError(
            f"rolling_restart: max_unavailable must be >= 1, got {max_unavailable}; with 0 nothing can restart"
        )
    for name, value in (("at_s", at_s), ("drain_s", drain_s), ("settle_s", settle_s)):
        if not value >= 0.0:
            raise InputError(f"rolling_restart: {name} must be >= 0, got {value}; write zero or more")
    return list(_waves(scenario, at_s, drain_s, max_unavailable, settle_s))


def _waves(scenario: Scenario, at_s: float, drain_s: float, max_unavailable: int, settle_s: float) -> Iterator[Change]:
    name, group = only(scenario, ConsumerGroup)
    for first in range(0, group.replicas, max_unavailable):
        wave = [f"{name}-{number + 1}" for number in range(first, min(first + max_unavailable, group.replicas))]
        yield from (Change(at_s, "stop", consumer) for consumer in wave)
        yield from (Change(at_s + drain_s, "kill", consumer) for consumer in wave)
        yield from (Change(at_s + drain_s, "start", consumer) for consumer in wave)
        at_s += drain_s + group.ready_s + settle_s

"""Deploys as timetables of changes: what an orchestrator does to the consumer group and to stations, wave by wave."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sentra_sim.engine.actors import drains
from sentra_sim.engine.changes import Change
from sentra_sim.errors import InputError
from sentra_sim.scenario import ConsumerGroup, Scenario, only
from sentra_sim.scenario.complaints import nearest


class Replicas(NamedTuple):
    """The processes of one workload: their names, how long a start takes, whether they can be asked to end."""

    names: list[str]
    ready_s: float
    drain: bool


def rolling_restart(
    scenario: Scenario,
    *,
    at_s: float,
    drain_s: float,
    max_unavailable: int = 1,
    settle_s: float = 0.0,
    of: str | Sequence[str] = (),
) -> list[Change]:
    """Returns the timetable of a rolling restart.

    `of`: the consumer group (if nothing is named), whose consumers are those that the scenario starts with, in order of their numbers; or
    a batcher, pool, store or edge with `recovery`, which is one process; or several of these, one after another.

    Each process is asked to end: a consumer finishes its poll, commits and leaves the group, a batcher, pool or store drains. If it
    has not ended `drain_s` later it is killed. Then its replacement starts, which is ready the group's `ready_s` or the
    station's `restart_s` later. An edge has no drain: its restart is a kill. At most `max_unavailable` consumers are down at a time; the
    next ones follow `settle_s` after the last are ready. In Kubernetes these are `terminationGracePeriodSeconds`, a
    PodDisruptionBudget's `maxUnavailable` and `minReadySeconds`.

    Raises:
        InputError: a time is negative, nothing may be unavailable, or there is nothing of a name that can be restarted.

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
    subjects = [of] if isinstance(of, str) else list(of) or [only(scenario, ConsumerGroup)[0]]
    found: list[Change] = []
    for replicas in [_replicas(scenario, subject) for subject in subjects]:
        found += _waves(replicas, at_s, drain_s if replicas.drain else 0.0, max_unavailable, settle_s)
        at_s = found[-1].at_s + replicas.ready_s + settle_s
    return found


def _replicas(scenario: Scenario, subject: str) -> Replicas:
    name, group = only(scenario, ConsumerGroup)
    if subject == name:
        return Replicas([f"{name}-{number + 1}" for number in range(group.replicas)], group.ready_s, drain=True)
    recovery = getattr(scenario.stations.get(subject), "recovery", None)
    if recovery is None:
        recover = [one for one, spec in scenario.stations.items() if getattr(spec, "recovery", None) is not None]
        raise InputError(
            f"rolling_restart: of must be of the consumer group or of stations with recovery, got {subject!r}"
            f"{nearest(subject, [name, *recover])}"
        )
    return Replicas([subject], recovery.restart_s, drain=subject in drains(scenario))


def _waves(replicas: Replicas, at_s: float, drain_s: float, max_unavailable: int, settle_s: float) -> Iterator[Change]:
    names = replicas.names
    for first in range(0, len(names), max_unavailable):
        wave = names[first : first + max_unavailable]
        if replicas.drain:
            yield from (Change(at_s, "stop", name) for name in wave)
        yield from (Change(at_s + drain_s, "kill", name) for name in wave)
        yield from (Change(at_s + drain_s, "start", name) for name in wave)
        at_s += drain_s + replicas.ready_s + settle_s

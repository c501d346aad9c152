"""What a scenario is allowed to say but hardly means."""

from __future__ import annotations

from sentra_sim.scenario.schema import ConsumerGroup, Log, Scenario
from sentra_sim.scenario.topology import only


def advice(scenario: Scenario) -> tuple[str, ...]:
    """Returns what to think over in a scenario that is valid, a line each: place, rule, value, remedy."""
    name, group = only(scenario, ConsumerGroup)
    _, log = only(scenario, Log)
    lines = [_idle(name, key, count, log.partitions) for key, count in _counts(group) if count > log.partitions]
    if group.session_timeout_s < 3 * group.heartbeat_s:
        lines.append(
            f"stations.{name}.session_timeout_s: should be three times heartbeat_s ({group.heartbeat_s:g}) or more, "
            f"got {group.session_timeout_s:g}; a consumer that only lost a heartbeat counts as dead"
        )
    return tuple(lines)


def _counts(group: ConsumerGroup) -> tuple[tuple[str, int], ...]:
    return (("replicas", group.replicas), ("max_replicas", group.max_replicas))


def _idle(name: str, key: str, count: int, partitions: int) -> str:
    return (
        f"stations.{name}.{key}: should be <= the log's partitions ({partitions}), got {count}; "
        f"{count - partitions} of the consumers would be idle: add partitions or lower it"
    )

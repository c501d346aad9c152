"""What a scenario is allowed to say but hardly means."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from pydantic import BaseModel

from sentra_sim.scenario.schema import Breaker, Broadcast, ConsumerGroup, Log, Noise, Retry, Scenario, Store
from sentra_sim.scenario.topology import branches_apart, only

USUAL_MEAN = 0.05  # so far from one may the mean of quantiles lie that were read off a measurement


def advice(scenario: Scenario) -> tuple[str, ...]:
    """Returns what to think over in a scenario that is valid, a line each: place, rule, value, remedy."""
    lines = [*_group(scenario), *_lanes(scenario), *_load(scenario), *_spans(scenario)]
    for place, block in _blocks(scenario, ""):
        match block:
            case Noise():
                lines += _noise(place, block)
            case Retry():
                lines += _rising(place, "cap_s", block.cap_s, "base_s", block.base_s)
            case Log():
                backoff_s, most_s = block.retry_backoff_s, block.retry_backoff_max_s
                lines += _rising(place, "retry_backoff_max_s", most_s, "retry_backoff_s", backoff_s)
            case Store() if 1 < block.max_replicas < block.replicas:
                lines += _rising(place, "max_replicas", block.max_replicas, "replicas", block.replicas)
            case Broadcast() if block.subscribers and block.subscribers.groups > scenario.load.tenants:
                groups, tenants = block.subscribers.groups, scenario.load.tenants
                lines.append(
                    f"{place}.subscribers.groups: should be <= the load's tenants ({tenants}), got {groups}; "
                    "the other groups have nobody in them: lower it"
                )
    return tuple(lines)


def _group(scenario: Scenario) -> Iterator[str]:
    name, group = only(scenario, ConsumerGroup)
    _, log = only(scenario, Log)
    for key, count in (("replicas", group.replicas), ("max_replicas", group.max_replicas)):
        if count > log.partitions:
            yield _idle(name, key, count, log.partitions)
    if group.session_timeout_s < 3 * group.heartbeat_s:
        yield (
            f"stations.{name}.session_timeout_s: should be three times heartbeat_s ({group.heartbeat_s:g}) or more, "
            f"got {group.session_timeout_s:g}; a consumer that only lost a heartbeat counts as dead"
        )
    if group.retry.attempts > 1 and group.retry != Retry() and not _can_fail(scenario, group):
        yield (
            f"stations.{name}.retry: should go with a called station that sets failure, got none; "
            "no call fails, nothing is tried again: set failure, or leave retry out"
        )
    if group.breaker != Breaker() and not _can_fail(scenario, group):
        yield (
            f"stations.{name}.breaker: should go with a called station that sets failure, got none; "
            "no call fails, it never opens: set failure, or leave the breaker out"
        )


def _lanes(scenario: Scenario) -> Iterator[str]:
    (name, log), group = only(scenario, Log), only(scenario, ConsumerGroup)[1]
    consumers = group.most_replicas
    for lane in log.lanes:
        if lane.partitions < consumers and group.service != "arrival":
            yield (
                f"stations.{name}.lanes.{lane.name}.partitions: should be >= the consumers ({consumers}), got {lane.partitions}; "
                f"{consumers - lane.partitions} of them would serve the other lanes only: add partitions"
            )
    if group.service != "fair" and any(lane.weight != 1.0 for lane in log.lanes):
        yield (
            f"stations.{name}.lanes: should have weights with service: fair alone, got {group.service}; they change nothing: "
            "set the group's service, or leave them out"
        )


def _can_fail(scenario: Scenario, group: ConsumerGroup) -> bool:
    return any(getattr(scenario.stations[name], "failure", None) is not None for name in group.calls)


def _idle(name: str, key: str, count: int, partitions: int) -> str:
    return (
        f"stations.{name}.{key}: should be <= the log's partitions ({partitions}), got {count}; "
        f"{count - partitions} of the consumers would be idle: add partitions or lower it"
    )


def _load(scenario: Scenario) -> Iterator[str]:
    load = scenario.load
    if load.keys < load.tenants:
        yield (
            f"load.keys: should be >= load.tenants ({load.tenants}), got {load.keys}; "
            f"{load.tenants - load.keys} of the tenants own no key and offer nothing: add keys"
        )


def _spans(scenario: Scenario) -> Iterator[str]:
    for name, span in scenario.kpis.items():
        if branches_apart(scenario, span.start, span.end):
            yield (
                f"kpis.{name}: should lead to a later hop of the same way, got {span.start!r} to {span.end!r}; "
                "either may come first, so that the time may be negative: choose a hop before both"
            )


def _noise(place: str, noise: Noise) -> Iterator[str]:
    if noise.dist == "quantiles":
        mean = (math.fsum(noise.quantiles) - (noise.quantiles[0] + noise.quantiles[-1]) / 2) / (
            len(noise.quantiles) - 1
        )
        if abs(mean - 1.0) > USUAL_MEAN:
            yield (
                f"{place}.quantiles: should have a mean of 1, got {mean:g}; everything takes so many times as long "
                "as written: divide them by it"
            )
    elif noise.dist == "lognormal" and noise.cv == 0.0:
        yield f"{place}.cv: should be > 0 with dist: lognormal, got 0; nothing varies: write a cv, or dist: constant"
    elif noise.dist != "lognormal" and noise.cv > 0.0:
        yield (
            f"{place}.cv: should be left out with dist: {noise.dist}, got {noise.cv:g}; it changes nothing: "
            "write dist: lognormal, or leave it out"
        )


def _rising(place: str, high: str, value: float, low: str, least: float) -> Iterator[str]:
    if value < least:
        yield f"{place}.{high}: should be >= {low} ({least:g}), got {value:g}; {low} has no effect: raise it"


def _blocks(value: object, place: str) -> Iterator[tuple[str, BaseModel]]:
    """Yields every block of a scenario with its place."""
    inner: Iterator[tuple[str, object]] = iter(())
    if isinstance(value, BaseModel):
        if place:
            yield place, value
        inner = ((field.alias or key, getattr(value, key)) for key, field in type(value).model_fields.items())
    elif isinstance(value, Mapping):
        inner = iter(value.items())
    elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
        inner = ((str(number), item) for number, item in enumerate(value))
    for key, item in inner:
        yield from _blocks(item, f"{place}.{key}" if place else key)

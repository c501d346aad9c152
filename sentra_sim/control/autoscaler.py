"""The autoscaler: KEDA's part, which turns a group on and off, and the HPA that it makes, which sets how many there are.

After `pkg/scaling/executor/scale_scaledobjects.go` (`RequestScale`) and `getTotalLag` of `pkg/scalers/kafka_scaler.go` of KEDA 2.17:
`pollingInterval` and `cooldownPeriod` are of the step between none and some; between some and more the HPA looks every 15 s.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from sentra_sim.control.hpa import SYNC_S, Hpa, Usage
from sentra_sim.control.loop import Controller, Desk, Process
from sentra_sim.control.plant import SetReplicas, SetWorkers
from sentra_sim.control.scaledobject import (
    HorizontalPodAutoscaler,
    KafkaTrigger,
    ScaledObject,
    ScaledObjectSpec,
    Trigger,
)

WINDOW_S = 15.0  # of rates and quantiles that a trigger names
Seen = Mapping[str, float]


def make_autoscaler(rule: ScaledObject | HorizontalPodAutoscaler) -> Controller:
    """Returns the controller of a ScaledObject or of a HorizontalPodAutoscaler."""
    return KedaAutoscaler(rule.spec) if isinstance(rule, ScaledObject) else HpaAutoscaler(rule)


class Scaled:
    """What an autoscaler sets the number of: a store, if the plant shows how many replicas it has, else the group's workers."""

    def __init__(self, target: str) -> None:
        self.target = target

    def count(self, seen: Seen) -> int:
        """Returns how many there are."""
        return int(seen.get(f"{self.target}.replicas", seen["workers"]))

    def scale(self, desk: Desk, seen: Seen, count: int) -> None:
        """Sets how many there are, if that changes."""
        if f"{self.target}.replicas" not in seen:
            set_workers(desk, seen, count)
        elif count != self.count(seen):
            backlog = seen.get(f"{self.target}.backlog_events")
            desk.decided(f"{self.count(seen)} to {count} replicas of {self.target}", backlog_events=backlog)
            desk.apply(SetReplicas(self.target, count))


class HpaAutoscaler:
    """A HorizontalPodAutoscaler by itself."""

    name = "autoscaler"

    def __init__(self, rule: HorizontalPodAutoscaler) -> None:
        spec = rule.spec
        self.scaled = Scaled(spec.target)
        self.hpa = Hpa(spec.least, spec.most, spec.behavior)
        self.metrics = [entry.external for entry in spec.metrics]

    def run(self, desk: Desk) -> Process:
        """Looks every 15 s."""
        while True:
            seen = desk.metrics(WINDOW_S)
            usages = [self._usage(seen, number) for number in range(len(self.metrics))]
            self.scaled.scale(desk, seen, self.hpa.sync(desk.now_s, self.scaled.count(seen), usages))
            yield desk.wait(SYNC_S)

    def _usage(self, seen: Seen, number: int) -> Usage | None:
        target = self.metrics[number].target
        value = seen.get(self.metrics[number].metric.name)
        average = target.type == "AverageValue"
        wanted = target.average if average else target.value
        return None if value is None or wanted is None else Usage(value, wanted, average)


class KedaAutoscaler:
    """A ScaledObject with its HPA, whose least number is 1 where the ScaledObject's is 0."""

    name = "autoscaler"

    def __init__(self, spec: ScaledObjectSpec) -> None:
        self.spec = spec
        self.scaled = Scaled(spec.target)
        self.hpa = Hpa(max(1, spec.least), spec.most, spec.advanced.hpa.behavior)
        self.last_active_s: float | None = None
        self.cached: list[Reading | None] = [None] * len(spec.triggers)

    def run(self, desk: Desk) -> Process:
        """Polls the triggers, and lets the HPA look, each in its own time; at one moment the triggers come first."""
        poll_s = sync_s = desk.now_s
        while True:
            yield desk.wait(min(poll_s, sync_s) - desk.now_s)
            seen = desk.metrics(WINDOW_S)
            if poll_s <= desk.now_s:
                self._poll(desk, seen)
                poll_s += self.spec.polling_s
            if sync_s <= desk.now_s:
                self._sync(desk, desk.metrics(WINDOW_S))
                sync_s += SYNC_S

    def _poll(self, desk: Desk, seen: Seen) -> None:
        """Takes the step between none and some, or `idleReplicaCount` and more."""
        spec, current = self.spec, self.scaled.count(seen)
        self.cached = [read_trigger(trigger, seen) for trigger in spec.triggers]
        idle = spec.idle or 0
        if any(reading is not None and reading.active for reading in self.cached):
            self.last_active_s = desk.now_s
            if current == 0 or (spec.idle is not None and current < spec.least):
                self.scaled.scale(desk, seen, max(1, spec.least))
        elif current > idle and (spec.idle is not None or spec.least == 0):
            since_s = desk.now_s - self.last_active_s if self.last_active_s is not None else math.inf
            if since_s > spec.cooldown_s and desk.now_s >= spec.initial_cooldown_s:
                self.scaled.scale(desk, seen, idle)
        elif current < spec.least and spec.idle is None:
            self.scaled.scale(desk, seen, spec.least)

    def _sync(self, desk: Desk, seen: Seen) -> None:
        current = self.scaled.count(seen)
        if self.spec.idle is not None and current <= self.spec.idle:
            return
        usages: list[Usage | None] = []
        for trigger, cached in zip(self.spec.triggers, self.cached, strict=True):
            reading = cached if trigger.cached else read_trigger(trigger, seen)
            usages.append(None if reading is None else reading.usage)
        self.scaled.scale(desk, seen, self.hpa.sync(desk.now_s, current, usages))


@dataclass(frozen=True)
class Reading:
    """What a trigger says: whether there is work, and its metric for the HPA."""

    active: bool
    usage: Usage


def read_trigger(trigger: Trigger, seen: Seen) -> Reading | None:
    """Returns what a trigger says of a look; None when the plant did not tell."""
    average = trigger.metric_type == "AverageValue"
    if not isinstance(trigger, KafkaTrigger):
        value = seen.get(trigger.metadata.query)
        if value is None:
            return None
        return Reading(value > trigger.metadata.activation, Usage(value, trigger.metadata.threshold, average))
    lag, rule = seen.get("lag_events"), trigger.metadata
    most = seen.get("lag_partitions" if rule.with_lag else "partitions")
    if lag is None or (most is None and not rule.allow_idle):
        return None
    total = int(lag)
    # KEDA divides whole numbers here: a lag up to one threshold beyond the limit stays as it is.
    if not rule.allow_idle and most is not None and total // rule.lag_threshold > most:
        total = int(most) * rule.lag_threshold
    return Reading(lag > rule.activation, Usage(float(total), float(rule.lag_threshold), average))


def set_workers(desk: Desk, seen: Seen, count: int) -> None:
    """Sets the workers, if their number changes: none beyond the partitions, which would stand idle."""
    count = min(count, int(seen.get("partitions", count)))
    if count != int(seen["workers"]):
        desk.decided(f"{int(seen['workers'])} to {count} workers", lag_events=seen.get("lag_events"))
        desk.apply(SetWorkers(count))

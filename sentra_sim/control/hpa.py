"""Kubernetes' HorizontalPodAutoscaler as a rule: metrics in, number of replicas out.

After `pkg/controller/podautoscaler` of Kubernetes 1.33: `replica_calculator.go` for what a metric proposes, and
`stabilizeRecommendationWithBehaviors` and `convertDesiredReplicasWithBehaviorRate` of `horizontal.go` for what becomes of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, NonNegativeFloat, PositiveInt

from sentra_sim.control.document import Block

SYNC_S = 15.0  # --horizontal-pod-autoscaler-sync-period
TOLERANCE = 0.1  # --horizontal-pod-autoscaler-tolerance
DOWN_WINDOW_S = 300  # --horizontal-pod-autoscaler-downscale-stabilization
HOUR_S = 3600


class ScalingPolicy(Block):
    """At most so many replicas, or per cent of them, more or fewer within a period."""

    type: Literal["Pods", "Percent"]
    value: PositiveInt
    period_s: Annotated[int, Field(alias="periodSeconds", gt=0, le=1800)]
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class ScalingRules(Block):
    """How fast replicas may change in one direction; what is not set has Kubernetes' default."""

    window_s: Annotated[int | None, Field(alias="stabilizationWindowSeconds", ge=0, le=HOUR_S)] = None
    select: Annotated[Literal["Max", "Min", "Disabled"], Field(alias="selectPolicy")] = "Max"
    policies: tuple[ScalingPolicy, ...] | None = None
    tolerance: NonNegativeFloat = TOLERANCE


class Behavior(Block):
    """Rules for both directions."""

    up: Annotated[ScalingRules, Field(alias="scaleUp")] = ScalingRules()
    down: Annotated[ScalingRules, Field(alias="scaleDown")] = ScalingRules()


UP_POLICIES = (
    ScalingPolicy(type="Pods", value=4, period_s=15),
    ScalingPolicy(type="Percent", value=100, period_s=15),
)
DOWN_POLICIES = (ScalingPolicy(type="Percent", value=100, period_s=15),)


@dataclass(frozen=True)
class Usage:
    """One metric against its target: `average` shares it among the replicas, else it is compared as it is."""

    value: float
    target: float
    average: bool = True


@dataclass
class Hpa:
    """One autoscaler with what it remembers: recommendations, and changes made in each direction, with their times."""

    least: int
    most: int
    behavior: Behavior = field(default_factory=Behavior)
    recommended: list[tuple[float, int]] = field(default_factory=list)
    added: list[tuple[float, int]] = field(default_factory=list)
    removed: list[tuple[float, int]] = field(default_factory=list)

    def sync(self, now_s: float, current: int, usages: Sequence[Usage | None]) -> int:
        """Returns how many replicas there should be now; None stands for a metric that could not be read.

        A metric without a value holds back scaling down, and all of them hold back everything. No replicas turn scaling off.
        """
        if current == 0:
            return 0
        if current > self.most:
            wanted = self.most
        elif current < self.least:
            wanted = self.least
        else:
            proposals = [propose(current, usage, self.behavior) for usage in usages if usage is not None]
            proposed = max(proposals, default=current)
            if len(proposals) < len(usages) and proposed < current:
                return current
            if not proposals:
                return current
            wanted = self._limited(now_s, current, self._stabilized(now_s, current, proposed))
        if wanted != current:
            log = self.added if wanted > current else self.removed
            log.append((now_s, abs(wanted - current)))
        return wanted

    def _stabilized(self, now_s: float, current: int, proposed: int) -> int:
        up_s, down_s = self.behavior.up.window_s or 0, self.behavior.down.window_s
        down_s = DOWN_WINDOW_S if down_s is None else down_s
        lowest = min([proposed, *(count for at_s, count in self.recommended if at_s > now_s - up_s)])
        highest = max([proposed, *(count for at_s, count in self.recommended if at_s > now_s - down_s)])
        self.recommended = [row for row in self.recommended if row[0] > now_s - max(up_s, down_s)]
        self.recommended.append((now_s, proposed))
        return min(max(current, lowest), highest)

    def _limited(self, now_s: float, current: int, wanted: int) -> int:
        if wanted > current:
            limit = max(current, self._limit(now_s, current, self.behavior.up, UP_POLICIES, 1))
            return min(wanted, self.most, limit)
        if wanted < current:
            limit = min(current, self._limit(now_s, current, self.behavior.down, DOWN_POLICIES, -1))
            return max(wanted, self.least, limit)
        return wanted

    def _limit(
        self, now_s: float, current: int, rules: ScalingRules, default: tuple[ScalingPolicy, ...], sign: int
    ) -> int:
        if rules.select == "Disabled":
            return current
        limits = []
        for policy in default if rules.policies is None else rules.policies:
            since_s = now_s - policy.period_s
            start = current - _sum(self.added, since_s) + _sum(self.removed, since_s)
            if policy.type == "Pods":
                limits.append(start + sign * policy.value)
            elif sign > 0:
                limits.append(math.ceil(start * (1 + policy.value / 100)))
            else:
                limits.append(int(start * (1 - policy.value / 100)))
        # The largest change: the highest limit on the way up, the lowest on the way down.
        return max(limits) if (rules.select == "Max") == (sign > 0) else min(limits)


def propose(current: int, usage: Usage, behavior: Behavior) -> int:
    """Returns the number of replicas that one metric asks for: unchanged within the tolerance.

    >>> propose(2, Usage(value=350.0, target=100.0), Behavior())
    4
    >>> propose(2, Usage(value=210.0, target=100.0), Behavior())
    2
    """
    ratio = usage.value / (usage.target * (current if usage.average else 1))
    if 1.0 - behavior.down.tolerance <= ratio <= 1.0 + behavior.up.tolerance:
        return current
    return math.ceil(usage.value / usage.target) if usage.average else math.ceil(ratio * current)


def _sum(changes: list[tuple[float, int]], since_s: float) -> int:
    return sum(change for at_s, change in changes if at_s > since_s)

"""The rollout controller: gives a canary its weight step by step, and takes it back when it breaches a gate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from sentra_sim.control.document import Block
from sentra_sim.control.loop import Desk, Process
from sentra_sim.control.plant import SetWeights

STABLE = "stable"

Verdict = Literal["pass", "breach", "undecided"]
Outcome = Literal["promoted", "rolled-back", "unfinished"]


class BoundGate(Block):
    """One metric of the window against a bound: at most `max`, at least `min`. A metric that is not there decides nothing."""

    kind: Literal["bound"] = "bound"
    metric: str
    max: float | None = None
    min: float | None = None

    @model_validator(mode="after")
    def _bounds_something(self) -> Self:
        if self.max is None and self.min is None:
            raise ValueError("must set max, min or both")
        if self.max is not None and self.min is not None and self.max < self.min:
            raise ValueError("must set max no lower than min")
        return self

    def judge(self, seen: Mapping[str, float]) -> Verdict:
        """Judges one look."""
        value = seen.get(self.metric)
        if value is None or math.isnan(value):  # no data is not a pass, and not a breach either
            return "undecided"
        high = self.max is not None and value > self.max
        low = self.min is not None and value < self.min
        return "breach" if high or low else "pass"


Gate = BoundGate  # others join here, told apart by `kind`


class Step(Block):
    """A weight of the canary and for how long it is watched at it before the next step."""

    weight: Annotated[float, Field(gt=0.0, le=1.0)]
    hold_s: PositiveFloat


class RolloutPolicy(Block):
    """A canary's way up: steps, gates, and when to turn back.

    Every `look_every_s` the last `window_s` are judged. A look breaches when any gate does, and passes when all do; else it is
    undecided, which ends no series of breaches and begins none. After `consecutive_breaches_to_rollback` looks in
    breach one after another stable gets everything back. A step ends when it has lasted `hold_s` and its last look passes.
    """

    canary: str
    steps: Annotated[tuple[Step, ...], Field(min_length=1)]
    gates: Annotated[tuple[Gate, ...], Field(min_length=1)]
    start_s: NonNegativeFloat = 0.0
    window_s: PositiveFloat = 60.0
    look_every_s: PositiveFloat = 15.0
    consecutive_breaches_to_rollback: PositiveInt = 2

    @model_validator(mode="after")
    def _rising(self) -> Self:
        weights = [step.weight for step in self.steps]
        if weights != sorted(set(weights)):
            raise ValueError("must hold steps whose weights rise")
        if self.canary == STABLE:
            raise ValueError(f"must name a canary beside {STABLE}")
        return self


@dataclass
class RolloutResult:
    """How a rollout ended; times are seconds since the load began, None for what did not happen.

    `first_breach_s`: of the series that led to the rollback. `restored_s`: when a look after it passed.
    """

    outcome: Outcome = "unfinished"
    first_breach_s: float | None = None
    rolled_back_s: float | None = None
    restored_s: float | None = None
    promoted_s: float | None = None

    @property
    def rollback_s(self) -> float | None:
        """Returns seconds from the first breach until all was well again."""
        if self.first_breach_s is None or self.restored_s is None:
            return None
        return self.restored_s - self.first_breach_s


class RolloutController:
    """Carries a rollout out; `result` tells how it ended."""

    name = "rollout"

    def __init__(self, policy: RolloutPolicy) -> None:
        self.policy = policy
        self.result = RolloutResult()
        self._breaches = 0

    def run(self, desk: Desk) -> Process:
        """Takes the canary up the steps, or back."""
        yield desk.wait(self.policy.start_s - desk.now_s)
        for step in self.policy.steps:
            desk.apply(self._weights(step.weight))
            begun_s, verdict = desk.now_s, "undecided"
            while verdict != "pass" or desk.now_s < begun_s + step.hold_s:
                yield desk.wait(self.policy.look_every_s)
                verdict = self._look(desk)
                if self._breaches == self.policy.consecutive_breaches_to_rollback:
                    yield from self._roll_back(desk)
                    return
        desk.apply(self._weights(1.0))
        self.result.outcome, self.result.promoted_s = "promoted", desk.now_s
        desk.decided("promoted")

    def _look(self, desk: Desk) -> Verdict:
        seen = desk.metrics(self.policy.window_s)
        verdict, why = self._judge(seen)
        if verdict == "breach":
            if self._breaches == 0:
                self.result.first_breach_s = desk.now_s
            self._breaches += 1
        elif verdict == "pass":
            self._breaches, self.result.first_breach_s = 0, None
        desk.decided(verdict, breaches=self._breaches, **why)
        return verdict

    def _judge(self, seen: Mapping[str, float]) -> tuple[Verdict, dict[str, Verdict]]:
        found = {gate.metric: gate.judge(seen) for gate in self.policy.gates}
        for worst in ("breach", "undecided"):
            if worst in found.values():
                return worst, {metric: verdict for metric, verdict in found.items() if verdict == worst}
        return "pass", {}

    def _roll_back(self, desk: Desk) -> Process:
        desk.apply(SetWeights({STABLE: 1.0}))
        self.result.outcome, self.result.rolled_back_s = "rolled-back", desk.now_s
        desk.decided("rolled back", first_breach_s=self.result.first_breach_s)
        every_s = self.policy.look_every_s
        while True:  # windows no longer than the gap between looks: worse days are not to be seen again
            yield desk.wait(every_s)
            if self._judge(desk.metrics(min(every_s, self.policy.window_s)))[0] == "pass":
                self.result.restored_s = desk.now_s
                desk.decided("restored", after_s=self.result.rollback_s)
                return

    def _weights(self, weight: float) -> SetWeights:
        return SetWeights({STABLE: 1.0 - weight, self.policy.canary: weight})

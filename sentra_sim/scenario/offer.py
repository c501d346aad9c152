"""What producers offer: the load."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from sentra_sim.scenario.blocks import LATER, Model
from sentra_sim.scenario.shapes import Shape, Trace


class Step(Model):
    """A stretch of the load at one rate."""

    rate_eps: PositiveFloat
    seconds: PositiveFloat


class Sizes(Model):
    """How large events are, in a simulation; a real load has events of `event_bytes`.

    `constant` events have `mean_bytes`; `lognormal` ones have that mean with the coefficient of variation `cv`, as message sizes of
    real services are skewed to the right; of a `mix` each of `bytes` is as likely as its weight. Sizes are whole numbers of bytes. With
    `per: frame` all events of a frame have the size of its first.
    """

    dist: Literal["constant", "lognormal", "mix"]
    per: Literal["event", "frame"] = "event"
    mean_bytes: PositiveFloat = 64.0
    cv: NonNegativeFloat = 1.0
    bytes: tuple[PositiveInt, ...] = ()
    weights: tuple[NonNegativeFloat, ...] = ()

    @model_validator(mode="after")
    def _a_weight_each(self) -> Self:
        if (self.dist == "mix") != bool(self.bytes):
            raise ValueError("must have bytes with dist: mix, and only with it")
        if len(self.bytes) != len(self.weights):
            raise ValueError(f"must have a weight for each of {len(self.bytes)} sizes, got {len(self.weights)}")
        if self.weights and not sum(self.weights) > 0.0:
            raise ValueError("must have a size of a weight > 0")
        return self

    @property
    def shares(self) -> tuple[float, ...]:
        """The weights as probabilities."""
        return tuple(weight / sum(self.weights) for weight in self.weights)


class Load(Model):
    """What producers offer. Send times are fixed beforehand (open loop).

    A generator sends once per `tick_s` whatever became due, as one message; `tick_s: 0` sends each event by itself.
    Keys follow a Zipf law with exponent `key_skew` (0 is uniform); a tenant owns the keys congruent to it.
    With `steps` the rate changes while the load goes on: the first step begins with the load, warm-up included, and the last
    one's rate holds for as long as the run goes on after it. `rate_eps` is then the mean rate of the steps; leave it out.

    `shape` holds factors that change with time and multiply this rate, each other's too: see the blocks `Mmpp` to `Trace`. The mean
    of all but `ramp` and `flash` is one, so that `rate_eps` is the mean rate still. Evenly spaced or Poisson, arrivals follow the
    shape exactly: they are those of rate one, put where the integrated rate comes to their times.

    With `tenant_weights` each tenant offers that share of the events (the weights need not sum to one), on keys of its own that follow
    the Zipf law by themselves; without, a tenant's share is that of its keys.

    Every event has `event_bytes`, unless `sizes` says how they differ.
    """

    rate_eps: PositiveFloat = 50_000.0
    arrivals: Literal["constant", "poisson"] = "constant"
    tick_s: NonNegativeFloat = 0.002
    keys: PositiveInt = 10_000
    key_skew: NonNegativeFloat = 0.6
    tenants: PositiveInt = 20
    event_bytes: Annotated[int, Field(ge=64, le=127)] = 64
    steps: tuple[Step, ...] = Field(default=(), json_schema_extra=LATER)
    shape: tuple[Shape, ...] = Field(default=(), json_schema_extra=LATER)
    tenant_weights: tuple[NonNegativeFloat, ...] = Field(default=(), json_schema_extra=LATER)
    sizes: Sizes | None = Field(default=None, json_schema_extra=LATER)

    @model_validator(mode="after")
    def _own_rate_of_a_trace(self) -> Self:
        traces = [shape for shape in self.shape if isinstance(shape, Trace)]
        if traces and not self.steps and "rate_eps" not in self.model_fields_set:
            object.__setattr__(self, "rate_eps", traces[0].own_eps)
        return self

    @model_validator(mode="after")
    def _weights_of_all_tenants(self) -> Self:
        if not self.tenant_weights:
            return self
        if len(self.tenant_weights) != self.tenants:
            raise ValueError(
                f"must have tenant_weights of all {self.tenants} tenants, not of {len(self.tenant_weights)}"
            )
        if not any(self.tenant_weights):
            raise ValueError("must have a tenant of a weight > 0")
        if self.keys < self.tenants:
            raise ValueError(f"must have a key for each of {self.tenants} tenants with tenant_weights, not {self.keys}")
        return self

    @model_validator(mode="after")
    def _mean_of_steps(self) -> Self:
        if not self.steps:
            return self
        mean_eps = sum(step.rate_eps * step.seconds for step in self.steps) / self.steps_s
        if "rate_eps" not in self.model_fields_set:
            object.__setattr__(self, "rate_eps", mean_eps)  # frozen for everybody after this
        elif not math.isclose(self.rate_eps, mean_eps, rel_tol=1e-9):
            raise ValueError(f"must leave out rate_eps beside steps, whose mean is {mean_eps:g}")
        return self

    @property
    def steps_s(self) -> float:
        """Length of all steps together, s; 0 without any."""
        return sum(step.seconds for step in self.steps)

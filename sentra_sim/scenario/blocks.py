"""Blocks that all parts of a scenario are made of: names, demands, delays, jobs of their own."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, NonNegativeFloat, PositiveFloat, model_validator

Hop = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Factor = Annotated[float, Field(ge=1.0)]
Distribution = Literal["constant", "exponential", "lognormal", "quantiles"]

# The mark of a key that the schema did not have at first: it is left out of a scenario's hash where it has its default.
LATER: dict[str, JsonValue] = {"later": True}


class Model(BaseModel):
    """A frozen block of the scenario that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Noise(Model):
    """A multiplier with mean one, drawn once per job.

    `quantiles` holds the multiplier at equally spaced probabilities from 0 to 1; a draw interpolates linearly.
    """

    dist: Distribution = "constant"
    cv: NonNegativeFloat = 0.0
    quantiles: tuple[NonNegativeFloat, ...] = ()

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if self.dist == "quantiles" and len(self.quantiles) < 2:
            raise ValueError("must hold two quantiles or more with dist: quantiles")
        if any(high < low for low, high in pairwise(self.quantiles)):
            raise ValueError("must hold quantiles that never fall")
        return self


class Demand(Model):
    """CPU seconds of one job: `job_s + frame_s*frames + event_s*events`, times the noise, plus the cold term.

    The cold term `cold_s * gap / (gap + cold_tau_s)` grows with the time `gap` since the station's thread last ran: caches
    and branch predictors forget.
    """

    job_s: NonNegativeFloat = 0.0
    frame_s: NonNegativeFloat = 0.0
    event_s: NonNegativeFloat = 0.0
    cold_s: NonNegativeFloat = 0.0
    cold_tau_s: PositiveFloat = 0.01
    noise: Noise = Noise()


class Delay(Model):
    """A pure delay that occupies no core: network, fsync, a long poll's wait. Mean `mean_s`, times the noise."""

    mean_s: NonNegativeFloat = 0.0
    noise: Noise = Noise()


class Background(Model):
    """A job that a station runs by itself every `every_s` on a thread of its own: garbage collection, merges, ticks."""

    every_s: PositiveFloat
    demand: Demand

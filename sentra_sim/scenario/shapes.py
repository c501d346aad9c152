"""Shapes of a load: factors on its rate that change with time, as data."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

DAY_S = 86_400.0
MOST_ROWS = 1_000_000


class Model(BaseModel):
    """A part of a shape; like every block of a scenario it is frozen and refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class State(Model):
    """A state of an `mmpp` shape: its rate, relative to those of the other states, and how long it lasts on average."""

    rate: NonNegativeFloat
    mean_s: PositiveFloat


class Mmpp(Model):
    """A Markov-modulated rate: states that last exponentially long, each followed by one of the others, all equally likely.

    With `arrivals: poisson` this is the MMPP (Fischer & Meier-Hellstern 1993); with a state of rate 0 the interrupted Poisson
    process. The first state is drawn from the stationary law. The factor's mean over time is one.
    """

    kind: Literal["mmpp"]
    states: Annotated[tuple[State, ...], Field(min_length=2)]

    @model_validator(mode="after")
    def _moves(self) -> Self:
        if not any(state.rate > 0.0 for state in self.states):
            raise ValueError("must hold a state of a rate > 0")
        return self

    @property
    def mean(self) -> float:
        """Mean of the relative rates over time: each state's share of the time is that of its mean length."""
        length_s = sum(state.mean_s for state in self.states)
        return sum(state.rate * state.mean_s for state in self.states) / length_s


class Burst(Model):
    """Bursts at fixed times: the relative rate `on` for `on_s`, then `off` for `off_s`, and again.

    The first burst begins at `at_s`; until then the rate is that between bursts. The factor's mean over a period is one.
    """

    kind: Literal["burst"]
    on_s: PositiveFloat
    off_s: PositiveFloat
    on: PositiveFloat
    off: NonNegativeFloat = 1.0
    at_s: NonNegativeFloat = 0.0

    @property
    def mean(self) -> float:
        """Mean of the relative rate over a period."""
        return (self.on * self.on_s + self.off * self.off_s) / (self.on_s + self.off_s)


class Ramp(Model):
    """A straight way from the factor `before`, held until `at_s`, to the factor `after`, held from `at_s + seconds` on."""

    kind: Literal["ramp"]
    at_s: NonNegativeFloat = 0.0
    seconds: PositiveFloat
    before: NonNegativeFloat = 1.0
    after: NonNegativeFloat

    @model_validator(mode="after")
    def _goes_somewhere(self) -> Self:
        if self.before == 0.0 and self.after == 0.0:
            raise ValueError("must have a factor before or after > 0")
        return self


class Flash(Model):
    """A flash crowd: from the factor 1 at `at_s` to `factor` after `rise_s`, and back exponentially with time constant `decay_s`."""

    kind: Literal["flash"]
    at_s: NonNegativeFloat
    factor: PositiveFloat
    rise_s: NonNegativeFloat = 0.0
    decay_s: PositiveFloat


class Diurnal(Model):
    """The course of a day, which lasts 86,400 s / `speedup`: a sinusoid, or a profile by the hour.

    The sinusoid is `1 + amplitude*cos(2*pi*(hour - peak_h)/24)`. A profile holds relative rates at the 24 full hours, with straight
    lines between them. The load begins at `start_h`. The factor's mean over a day is one.
    """

    kind: Literal["diurnal"]
    speedup: PositiveFloat = 1.0
    start_h: Annotated[float, Field(ge=0.0, lt=24.0)] = 0.0
    amplitude: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5
    peak_h: Annotated[float, Field(ge=0.0, lt=24.0)] = 14.0
    profile: tuple[NonNegativeFloat, ...] = ()

    @model_validator(mode="after")
    def _a_day(self) -> Self:
        if self.profile and len(self.profile) != 24:
            raise ValueError(f"must have a profile of 24 hours, not of {len(self.profile)}")
        if self.profile and not any(self.profile):
            raise ValueError("must have a profile with an hour > 0")
        if self.profile and not {"amplitude", "peak_h"}.isdisjoint(_told(self)):
            raise ValueError("must have a profile or amplitude and peak_h, not both")
        return self


class Trace(Model):
    """A recorded series to replay: counts of events (or rates, with `values_are: rates`) of equal intervals, one after another.

    The series is a column of a CSV file with a header, found relative to the scenario's file; `time_column` (the first column by
    default) holds ISO 8601 times or seconds, which must rise by the same interval from row to row. Missing rows are refused,
    or count as `zero`, or `hold` the value before them. Of the data rows, `skip_rows` are left out and then at most `take_rows` taken.
    Loading a scenario fills in `interval_s` and `values`, so a scenario carries its trace, and its hash that of the data; without
    a file write the two yourself.

    Time passes `speedup` times as fast. Within an interval the rate is constant; after the last one the first comes again. The
    factor's mean over the series is one, so `load.rate_eps` scales the trace; left out, it is the series' own rate.
    """

    kind: Literal["trace"]
    file: str = ""
    column: str = ""
    time_column: str = ""
    skip_rows: NonNegativeInt = 0
    take_rows: PositiveInt | None = None
    gaps: Literal["refuse", "zero", "hold"] = "refuse"
    values_are: Literal["counts", "rates"] = "counts"
    speedup: PositiveFloat = 1.0
    interval_s: PositiveFloat = 60.0
    values: Annotated[tuple[NonNegativeFloat, ...], Field(max_length=MOST_ROWS)] = ()

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.values:
            raise ValueError("must hold values; name a file, or write interval_s and values")
        if not any(self.values):
            raise ValueError("must hold a value > 0; all are 0")
        return self

    @property
    def mean(self) -> float:
        """Mean of the values."""
        return math.fsum(self.values) / len(self.values)

    @property
    def own_eps(self) -> float:
        """The mean rate of the series as it is replayed, events/s."""
        per_s = self.mean if self.values_are == "rates" else self.mean / self.interval_s
        return per_s * self.speedup


Shape = Annotated[Mmpp | Burst | Ramp | Flash | Diurnal | Trace, Field(discriminator="kind")]


def _told(model: Model) -> set[str]:
    """Returns the keys that were given a value other than their default."""
    fields = type(model).model_fields
    return {name for name in model.model_fields_set if getattr(model, name) != fields[name].default}

"""The scenario schema: a pipeline and its load as frozen, validated data.

Times are seconds, demands are seconds of CPU on one core of the station's host. Every model refuses unknown keys; the
loader (`load.py`) turns what pydantic reports into one line with the nearest valid name.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, NonNegativeInt, model_validator

from sentra_sim.scenario.blocks import LATER, Background, Delay, Demand, Factor, Hop, Model, Name, Noise, Share
from sentra_sim.scenario.edges import Broadcast, ServerSentEvents, Subscribers
from sentra_sim.scenario.groups import Breaker, ConsumerGroup, Retry
from sentra_sim.scenario.logs import Lane, Log
from sentra_sim.scenario.offer import Load, Sizes, Step
from sentra_sim.scenario.places import Host, Neighbour, Pause, Warmup
from sentra_sim.scenario.stations import (
    Admission,
    Backpressure,
    Batcher,
    ClientRetry,
    Quota,
    Recovery,
    Source,
    Station,
    TokenBucket,
)
from sentra_sim.scenario.stores import Blocking, Checkpoint, Merges, Pool, Relay, Release, Store

__all__ = [
    "LATER",
    "SCHEMA_VERSION",
    "Admission",
    "AnyStation",
    "Background",
    "Backpressure",
    "Batcher",
    "Blocking",
    "Bound",
    "Breaker",
    "Broadcast",
    "Checkpoint",
    "ClientRetry",
    "ConsumerGroup",
    "Delay",
    "Demand",
    "Factor",
    "Hop",
    "Host",
    "Lane",
    "Load",
    "Log",
    "Merges",
    "Model",
    "Name",
    "Neighbour",
    "Noise",
    "Pause",
    "Pool",
    "Quota",
    "Recovery",
    "Relay",
    "Release",
    "Retry",
    "Scenario",
    "ServerSentEvents",
    "Share",
    "Sizes",
    "Source",
    "Span",
    "Station",
    "Step",
    "Store",
    "Subscribers",
    "TokenBucket",
    "Warmup",
]

SCHEMA_VERSION = 1

AnyStation = Annotated[Source | Batcher | Log | ConsumerGroup | Pool | Store | Broadcast, Field(discriminator="kind")]


class Span(Model):
    """A latency KPI between two hops; `intended` is the events' intended send time."""

    start: Hop = Field(alias="from")
    end: Hop = Field(alias="to")
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Bound(Model):
    """An SLO bound on one KPI: at most `max`, at least `min`."""

    max: float | None = None
    min: float | None = None

    @model_validator(mode="after")
    def _bounds_something(self) -> Self:
        if self.max is None and self.min is None:
            raise ValueError("must set max, min or both")
        if self.max is not None and self.min is not None and self.max < self.min:
            raise ValueError("must set max no lower than min")
        return self


class Scenario(Model):
    """A pipeline, its hosts, its load, its KPIs and its SLO."""

    schema_version: Literal[1] = 1
    name: Name
    description: str = ""
    load: Load = Load()
    hosts: dict[Name, Host]
    stations: dict[Name, AnyStation]
    kpis: dict[Hop, Span] = Field(default={})
    slo: dict[str, Bound] = Field(default={})
    seed: NonNegativeInt = 1

"""The scenario schema: a pipeline and its load as frozen, validated data.

Times are seconds, demands are seconds of CPU on one core of the station's host. Every model refuses unknown keys; the
loader (`load.py`) turns what pydantic reports into one line with the nearest valid name.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

SCHEMA_VERSION = 1

Hop = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")]
Distribution = Literal["constant", "exponential", "lognormal", "quantiles"]


class Model(BaseModel):
    """A frozen block of the scenario that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


# The mark of a key that the schema did not have at first: it is left out of a scenario's hash where it has its default.
LATER: dict[str, JsonValue] = {"later": True}


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


class Host(Model):
    """Cores shared by the stations placed on the host.

    `ps` is egalitarian processor sharing, each job on at most one core. `fifo-slice` serves one run queue in order of
    arrival, a job going back to its end after `slice_s`. A demand takes 1/`speed` of its time.
    """

    cores: PositiveInt = 2
    discipline: Literal["ps", "fifo-slice"] = "fifo-slice"
    slice_s: PositiveFloat = 0.003
    speed: PositiveFloat = 1.0


class Step(Model):
    """A stretch of the load at one rate."""

    rate_eps: PositiveFloat
    seconds: PositiveFloat


class Load(Model):
    """What producers offer. Send times are fixed beforehand (open loop).

    A generator sends once per `tick_s` whatever became due, as one message; `tick_s: 0` sends each event by itself.
    Keys follow a Zipf law with exponent `key_skew` (0 is uniform); a tenant owns the keys congruent to it.
    With `steps` the rate changes while the load goes on: the first step begins with the load, warm-up included, and the last
    one's rate holds for as long as the run goes on after it. `rate_eps` is then the mean rate of the steps; leave it out.
    """

    rate_eps: PositiveFloat = 50_000.0
    arrivals: Literal["constant", "poisson"] = "constant"
    tick_s: NonNegativeFloat = 0.002
    keys: PositiveInt = 10_000
    key_skew: NonNegativeFloat = 0.6
    tenants: PositiveInt = 20
    event_bytes: Annotated[int, Field(ge=64, le=127)] = 64
    steps: tuple[Step, ...] = Field(default=(), json_schema_extra=LATER)

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


class Station(Model):
    """What every kind of station has. `low_priority` yields the core to any other thread of the host at once."""

    host: Name
    low_priority: bool = False
    background: tuple[Background, ...] = ()


class Source(Station):
    """The load generator: one message per tick to one batcher."""

    kind: Literal["source"]
    send: Demand = Demand()
    to: Name


class Batcher(Station):
    """Splits messages by partition and closes a frame by size or linger, whichever comes first.

    The linger of a frame runs from its first event. One timer watches over all frames; it fires `timer` late (an event loop's
    tick) and closes what is due by then. Frames that close at the same moment are one `close` job and are produced together.
    `receive` is spent per message before its events are buffered, `close` per
    frame closed, both on the batcher's one thread. `network` is the message's way from the source.
    """

    kind: Literal["batcher"]
    network: Delay = Delay()
    receive: Demand = Demand()
    timer: Delay = Delay()
    close: Demand = Demand()
    max_events: PositiveInt = 500
    linger_s: NonNegativeFloat = 0.01
    hops: tuple[Hop, Hop] = ("received", "closed")
    to: Name


class Log(Station):
    """A partitioned, replicated log: partition p is led by broker p mod brokers, its replicas are the brokers after it.

    One produce request per broker carries all frames waiting for it, with at most `in_flight` requests outstanding a broker.
    The leader spends `append` per request, each follower `replicate` per request; with `acks: all` the request is
    acknowledged `replication` after the last in-sync follower has it, with `acks: leader` right after the append. A frame can be
    fetched `fetch` after it is acknowledged.
    """

    kind: Literal["log"]
    partitions: PositiveInt = 6
    brokers: PositiveInt = 3
    replication_factor: PositiveInt = 3
    min_insync_replicas: PositiveInt = 2
    acks: Literal["all", "leader"] = "all"
    threads: PositiveInt = 1
    in_flight: PositiveInt = 1
    append: Demand = Demand()
    replicate: Demand = Demand()
    replication: Delay = Delay()
    fetch: Delay = Delay()
    hop: Hop = "acked"
    to: Name


class ConsumerGroup(Station):
    """Workers in a poll loop: take what is there, work on it, call the stores one after another, poll again.

    Replica r owns the partitions congruent to r. One that had nothing to do waits `gather_s` after the first frame for more to come:
    fewer and fuller polls. A poll takes whole frames in order of availability until `max_poll_events`; `fetch`
    is spent before and `process` after the frames count as started, both on the replica's one thread. Each station in `calls`
    gets the poll as one job and is waited for before the next is called; `finish` is spent, on the same thread, between the last
    answer and the next poll.
    """

    kind: Literal["consumer_group"]
    replicas: PositiveInt = 1
    max_poll_events: PositiveInt = 5_000
    gather_s: NonNegativeFloat = 0.0
    fetch: Demand = Demand()
    process: Demand = Demand()
    finish: Demand = Demand()
    calls: tuple[Name, ...] = ()
    hop: Hop = "started"


class Pool(Station):
    """`threads` workers that serve one queue in order of arrival; a job is a poll. `delay` follows the CPU work."""

    kind: Literal["pool"]
    threads: PositiveInt = 1
    demand: Demand = Demand()
    delay: Delay = Delay()
    hop: Hop
    to: tuple[Name, ...] = ()


class Store(Station):
    """A store that makes a poll visible `delay` after `threads` connections have worked on it.

    With `flush_s` set, polls gather and one job at a time writes everything gathered, at most one each `flush_s`.
    """

    kind: Literal["store"]
    threads: PositiveInt = 1
    demand: Demand = Demand()
    delay: Delay = Delay()
    flush_s: NonNegativeFloat = 0.0
    hop: Hop
    to: tuple[Name, ...] = ()


class Broadcast(Station):
    """Fans a poll out to subscribers.

    `handover` from the station before, `send` on the edge's thread, `network`, then `receive` on the subscriber's thread.
    """

    kind: Literal["broadcast"]
    subscriber_host: Name
    handover: Delay = Delay()
    send: Demand = Demand()
    network: Delay = Delay()
    receive: Demand = Demand()
    hops: tuple[Hop, Hop] = ("sent", "delivered")


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
    kpis: dict[Hop, Span] = {}
    slo: dict[str, Bound] = {}
    seed: NonNegativeInt = 1

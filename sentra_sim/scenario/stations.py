"""The stations before the log: the source with its clients, and the batcher with what it admits."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from sentra_sim.scenario.blocks import LATER, Background, Delay, Demand, Hop, Model, Name
from sentra_sim.scenario.places import Pause, Warmup


class Station(Model):
    """What every kind of station has. `low_priority` yields the core to any other thread of the host at once.

    `pauses`, `cpu_limit_cores` and `warmup` hold for each broker of a log and each replica of a consumer group by itself. A process
    that has used `cpu_limit_cores * cpu_period_s` of CPU in a period is throttled, with all its threads, until the next one (Linux's
    CFS bandwidth control, Kubernetes' `limits.cpu`); 0 is no limit.
    """

    host: Name
    low_priority: bool = False
    background: tuple[Background, ...] = ()
    pauses: tuple[Pause, ...] = Field(default=(), json_schema_extra=LATER)
    cpu_limit_cores: NonNegativeFloat = Field(default=0.0, json_schema_extra=LATER)
    cpu_period_s: PositiveFloat = Field(default=0.1, json_schema_extra=LATER)
    warmup: Warmup | None = Field(default=None, json_schema_extra=LATER)


class Recovery(Model):
    """What it takes to serve again after a kill: `restart_s`, and of a store `redo_event_s` for each event since its last checkpoint."""

    restart_s: NonNegativeFloat = 0.0
    redo_event_s: NonNegativeFloat = 0.0


class ClientRetry(Model):
    """Clients that send a message again which is not acknowledged `timeout_s` after it was sent, or of which events were shed.

    They do so up to `retries` times, after a `backoff` (noise of quantiles [0, 2] is full jitter). A message is acknowledged when the log
    has acknowledged one copy of each of its events; the answer's way back takes no time. With `budget_ratio` a retry takes a token from
    a bucket of `budget_burst`, full at the start, into which each first sending puts `budget_ratio` (as Finagle's and gRPC's retry
    budgets): retries are then at most that fraction of the load. A sending that finds no token is given up.

    A message that is sent again carries the same events. Those that the batcher had taken already are repeats: they cost at
    every station up to the consumers' `process`, which drops them; calls and `finish` are of the rest. A thread of its own sends
    again, each time at the cost of `send`.
    """

    timeout_s: PositiveFloat
    retries: PositiveInt = 3
    backoff: Delay = Delay()
    budget_ratio: NonNegativeFloat | None = None
    budget_burst: PositiveFloat = 10.0


class Source(Station):
    """The load generator: one message per tick to one batcher."""

    kind: Literal["source"]
    send: Demand = Demand()
    to: Name
    retry: ClientRetry | None = Field(default=None, json_schema_extra=LATER)


class TokenBucket(Model):
    """A token bucket: `rate_eps` events per second in the long run, `burst_events` at once; full at the start."""

    rate_eps: PositiveFloat
    burst_events: Annotated[float, Field(ge=1.0)]


class Quota(TokenBucket):
    """The token bucket of one tenant."""

    tenant: NonNegativeInt


class Backpressure(Model):
    """What the batcher does while the consumer group is behind: it takes nothing.

    It looks at the group's lag (events acknowledged and not taken by a poll yet) every `poll_s`. From the look that finds more than
    `high_events` on it sheds every event (RESOURCE_EXHAUSTED), until a look finds at most `low_events`. With `hold_acks` it takes
    events in the meantime, but keeps the log's acknowledgements back, in their order: `max_in_flight_events` then fills up.
    """

    high_events: PositiveInt
    low_events: NonNegativeInt
    poll_s: PositiveFloat = 1.0
    hold_acks: bool = False

    @model_validator(mode="after")
    def _high_above_low(self) -> Self:
        if self.low_events > self.high_events:
            raise ValueError(f"must have low_events no higher than high_events ({self.high_events})")
        return self


class Admission(Model):
    """What the batcher takes, decided event by event after `receive`, as by the rules of the live gateway's `Exchange`.

    `quotas` are of single tenants, `key_quota` is the bucket of every key by itself. `max_in_flight_events` bounds the events taken
    and not yet acknowledged by the log. `guaranteed` of that room is reserved for the tenants in proportion to `weights` (equal by
    default); the rest is for whoever comes, for `bronze` tenants until half of it is in use, for `silver` ones until three
    quarters, for all others until it is full. `backpressure` comes before all that. An event that may not be taken is shed
    (RESOURCE_EXHAUSTED); it has cost its part of `receive`.
    """

    quotas: tuple[Quota, ...] = ()
    key_quota: TokenBucket | None = None
    max_in_flight_events: PositiveInt | None = None
    silver: tuple[NonNegativeInt, ...] = ()
    bronze: tuple[NonNegativeInt, ...] = ()
    guaranteed: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    weights: tuple[PositiveFloat, ...] = ()
    backpressure: Backpressure | None = Field(default=None, json_schema_extra=LATER)

    @model_validator(mode="after")
    def _one_rule_a_tenant(self) -> Self:
        if both := sorted({*self.silver} & {*self.bronze}):
            raise ValueError(f"must have a tenant in one class, not {both} in silver and bronze")
        named = [quota.tenant for quota in self.quotas]
        if len(named) != len(set(named)):
            raise ValueError(f"must have one quota a tenant, not {named}")
        if self.max_in_flight_events is None and (self.silver or self.bronze or self.guaranteed or self.weights):
            raise ValueError("must have max_in_flight_events with classes, guaranteed or weights")
        if self.max_in_flight_events is None and self.backpressure is not None and self.backpressure.hold_acks:
            raise ValueError("must have max_in_flight_events with hold_acks; held acknowledgements bound nothing else")
        return self


class Batcher(Station):
    """Splits messages by partition and closes a frame by size or linger, whichever comes first.

    The linger of a frame runs from its first event. One timer watches over all frames; it fires `timer` late (an event loop's
    tick) and closes what is due by then. Frames that close at the same moment are one `close` job and are produced together.
    `receive` is spent per message before its events are buffered, `close` per
    frame closed, both on the batcher's one thread. `network` is the message's way from the source.

    With `batch_bytes` (batch.size; 0 is no limit) a frame is also closed by an event that it has no room for, which opens the next one,
    and as soon as it is full. An event larger than that has a frame for itself.

    With `recovery` the batcher may be stopped, killed and started. One that is stopped drains, as the live gateway does: it is not
    ready at once, and what comes from then on is refused (UNAVAILABLE) at no cost; what has come is put into frames that do not linger;
    when all of it is acknowledged or given up the process ends. A kill loses what its memory holds: messages that wait, open
    frames, frames that no broker has yet. Their events were never acknowledged, and count as shed unless a client with `retry` sends them
    again after its `timeout_s`. What a broker has goes on, but nobody hears its acknowledgement, nor sends it again when the
    broker fails. A start takes `restart_s`; quotas and rooms are full again, and caches cold.
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
    admission: Admission | None = Field(default=None, json_schema_extra=LATER)
    batch_bytes: NonNegativeInt = Field(default=0, json_schema_extra=LATER)
    recovery: Recovery | None = Field(default=None, json_schema_extra=LATER)

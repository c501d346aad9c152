"""The consumer group, and how it calls."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from sentra_sim.scenario.blocks import LATER, Demand, Hop, Model, Name, Share
from sentra_sim.scenario.stations import Station

Rebalance = Literal["eager", "cooperative", "static"]


class Retry(Model):
    """How a failed call is made again: after a pause drawn evenly from zero to `base_s`, doubled with each failure up to `cap_s`.

    That is full jitter (Brooker, "Exponential backoff and jitter", 2015). What has failed `attempts` times (0: nothing) is
    given up.
    """

    attempts: NonNegativeInt = 5
    base_s: NonNegativeFloat = 0.05
    cap_s: NonNegativeFloat = 2.0

    @model_validator(mode="after")
    def _pauses_for_ever(self) -> Self:
        if self.attempts == 0 and not (self.base_s > 0.0 and self.cap_s > 0.0):
            raise ValueError("must have base_s and cap_s above 0 with attempts: 0")
        return self


class Breaker(Model):
    """A circuit breaker: `failures` in a row open it (0: it never opens), `open_s` later it lets probes through.

    It closes when `probes` of them have passed, and opens again when one fails.
    """

    failures: NonNegativeInt = 0
    open_s: PositiveFloat = 1.0
    probes: PositiveInt = 1


class ConsumerGroup(Station):
    """Workers in a poll loop: take what is there, work on it, call the stores one after another, poll again.

    At first replica r owns the partitions congruent to r. One that had nothing to do waits `gather_s` after the first frame for more to
    come: fewer and fuller polls. A poll takes whole frames in order of availability until `max_poll_events`; `fetch`
    is spent before and `process` after the frames count as started, both on the replica's one thread. Each station in `calls`
    gets the poll as one job and is waited for before the next is called; `finish` is spent, on the same thread, between the last
    answer and the next poll. A poll is committed after that.

    Up to `max_replicas` consumers (0: `replicas`) may run as the group grows and shrinks; a new one joins `ready_s` after its
    start. `rebalance` says how partitions change hands. With `eager` (Kafka's RangeAssignor and RoundRobinAssignor) all consumers give all
    partitions up, each at its next heartbeat or after the poll that this finds under way, and `join_s` after the last has done so all
    go on. With `cooperative` (CooperativeStickyAssignor, and the consumer protocol of KIP-848) only partitions that move stop: their old
    owner gives them up likewise, the new one has them `join_s` after its own next heartbeat. `static` is that with a
    `group.instance.id` each (KIP-345): a consumer that ends tells nobody, and takes its own partitions again if it is back before its
    session is over. `heartbeat_s`, `session_timeout_s` are `heartbeat.interval.ms`, `session.timeout.ms`, with Kafka's defaults.

    The poll of a consumer that is killed is taken again by whoever owns its partitions then. What had taken effect by then (it was
    visible in the first store of `calls`; without one in the last of them; without any it had started) takes effect again, and its
    frame counts as `duplicate`; unless the group is `idempotent`: then the effect is refused, which costs `dedupe` beside `process`.

    A call that fails is made again as `retry` says; each consumer has a circuit `breaker` for each station that it calls. A poll whose
    call is given up goes to the dead-letter queue as it is: the calls after it are left out, its frames end as `dlq`.
    A share `poison_share` of the events fail whenever they are processed; it may change while the pipeline runs if it is set. They
    are put aside at once, as dead letters, and leave the rest of their frame and poll alone, as the live worker has it. With `dlq:
    false` there is no dead-letter queue. A consumer then processes a poll with such events again and again as `retry` says, and all
    its partitions stand meanwhile, for ever with `attempts: 0`; what it gives up, events or polls, is dropped, and ends as `lost`.
    With `max_age_s` set, a consumer that is about to poll drops what waits first in its queue for as long as that was
    received longer ago: such frames end as `shed`. With `adaptive_gather` a consumer does not gather while more than half of
    `max_poll_events` a consumer waits in the log, and takes eight polls to come back to `gather_s` after that.

    A consumer has one fetch at each broker. With `fetch_min_bytes` above 1 (fetch.min.bytes) it waits there until what the broker
    leads of the consumer's partitions comes to so many bytes, or until it has waited for `fetch_max_wait_s` (fetch.max.wait.ms,
    500 ms): fewer and fuller polls at low load, for a later delivery. Its answer takes the log's `fetch`, and the next fetch is at the
    broker when that has come.

    A consumer whose next frame the log has deleted goes on, by `offset_reset` (auto.offset.reset), with the first one of the partition that
    is there (`earliest`), or with what will be appended from now on (`latest`). What it never reads ends as `lost`.

    A consumer that does not poll again within `max_poll_interval_s` of its last poll (max.poll.interval.ms, of which Kafka's default is
    300 s; here 0, never) leaves the group by itself and goes on with its poll, which is taken again by whoever owns its partitions
    then. So its effects are brought twice. It cannot commit it, and joins again instead. With `static` it tells nobody: it only sends no
    heartbeats, and if it polls again within its session it takes its poll again itself (KIP-345). Fewer `max_poll_events` are the
    remedy for a poll that takes too long.

    `service` says in which order a consumer takes the frames of the log's `lanes`, each lane's in order of availability. With `arrival`
    lanes are not told apart. With `priority` a poll takes what waits of the first lane, then of the next ones: head-of-line priority,
    which interrupts no poll (Cobham, "Priority assignment in waiting line problems", 1954). With `fair` it is deficit round robin by
    events (Shreedhar & Varghese, "Efficient fair queuing using deficit round robin", 1996), which goes on from poll to poll: a round adds
    to a lane its quantum, the batcher's `max_events` times its weight over the least one, so that every visit takes a frame. A lane with
    nothing that waits loses what it has left. `max_age_s` then holds for what waits first in each lane. At first every consumer has a part
    of each lane that has as many partitions as there are consumers; a cooperative rebalance does not see to that, as Kafka's does not.
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
    max_replicas: NonNegativeInt = Field(default=0, json_schema_extra=LATER)
    rebalance: Rebalance = Field(default="cooperative", json_schema_extra=LATER)
    heartbeat_s: PositiveFloat = Field(default=3.0, json_schema_extra=LATER)
    session_timeout_s: PositiveFloat = Field(default=45.0, json_schema_extra=LATER)
    join_s: NonNegativeFloat = Field(default=0.1, json_schema_extra=LATER)
    ready_s: NonNegativeFloat = Field(default=0.5, json_schema_extra=LATER)
    idempotent: bool = Field(default=False, json_schema_extra=LATER)
    dedupe: Demand = Field(default=Demand(), json_schema_extra=LATER)
    retry: Retry = Field(default=Retry(), json_schema_extra=LATER)
    breaker: Breaker = Field(default=Breaker(), json_schema_extra=LATER)
    max_age_s: NonNegativeFloat = Field(default=0.0, json_schema_extra=LATER)
    adaptive_gather: bool = Field(default=False, json_schema_extra=LATER)
    poison_share: Share | None = Field(default=None, json_schema_extra=LATER)
    dlq: bool = Field(default=True, json_schema_extra=LATER)
    fetch_min_bytes: PositiveInt = Field(default=1, json_schema_extra=LATER)
    fetch_max_wait_s: PositiveFloat = Field(default=0.5, json_schema_extra=LATER)
    offset_reset: Literal["latest", "earliest"] = Field(default="latest", json_schema_extra=LATER)
    max_poll_interval_s: NonNegativeFloat = Field(default=0.0, json_schema_extra=LATER)
    service: Literal["arrival", "priority", "fair"] = Field(default="arrival", json_schema_extra=LATER)

    @model_validator(mode="after")
    def _room_for_replicas(self) -> Self:
        if 0 < self.max_replicas < self.replicas:
            raise ValueError(f"must set max_replicas no lower than replicas ({self.replicas})")
        return self

    @property
    def most_replicas(self) -> int:
        """How many consumers may run at a time."""
        return max(self.replicas, self.max_replicas)

"""The log."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from sentra_sim.scenario.blocks import LATER, Delay, Demand, Hop, Model, Name
from sentra_sim.scenario.stations import Station


class Lane(Model):
    """A class of service: so many partitions of the log, which the keys of its `tenants` have to themselves.

    The lane that leaves `tenants` out, one at most, has all that no other lane names. A key has the partition of its lane that it would
    have in a log of so many. What lanes are to a consumer is the group's `service`; `weight` is a lane's share with `service: fair`.
    """

    name: Name
    partitions: PositiveInt
    tenants: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)] | None = None
    weight: PositiveFloat = 1.0


class Log(Station):
    """A partitioned, replicated log: partition p is led by broker p mod brokers, its replicas are the brokers after it.

    One produce request per broker carries all frames waiting for it, with at most `in_flight` requests outstanding a broker.
    The leader spends `append` per request, each follower `replicate` per request; with `acks: all` the request is
    acknowledged `replication` after the last in-sync follower has it, with `acks: leader` right after the append, with
    `acks: none` when it is sent. A frame can be fetched `fetch` after it is acknowledged (and appended); with `high_watermark`
    also not before all in-sync replicas have it, which is Kafka's rule whatever the acks. With `disk_bytes_per_s` a broker
    writes the bytes of all that it appends and replicates (the load's `event_bytes` or `sizes`) one after another (0: at once).

    With `replicate_by: push` each request is a job of its own at each follower. With `pull`, as Kafka does it, each follower has
    one fetch at each leader, which waits there until there are `replica_fetch_min_bytes` (replica.fetch.min.bytes, 1) or it has waited
    for `replica_fetch_wait_s` (replica.fetch.wait.max.ms, 500 ms). All that is there by then is one `replicate` job of the follower;
    `replication` later its next fetch is at the leader, which learns by it what the follower has: this moves the high watermark and
    acknowledges with `acks: all`. What is appended meanwhile waits for that fetch: latencies grow with load, jobs get fewer.

    With `lanes` the partitions are cut into consecutive ranges, one for each lane, in their order. Kafka knows no priorities: topics or
    ranges of partitions by class are how they are had on it (Confluent's bucket priority pattern).

    A partition is a row of segments; one is closed by what would make it larger than `segment_bytes` (log.segment.bytes, 1 GiB).
    Every `retention_check_s` (log.retention.check.interval.ms, 5 min) those are deleted, the oldest first, that were last appended to
    more than `retention_s` ago (retention.ms; 0: none), and closed ones as long as the others come to `retention_bytes` of the
    partition (retention.bytes; 0: none). A consumer that comes too late loses what was deleted: see `offset_reset` of the group.

    What follows is of brokers that fail (`kill`, `pause`, `partition`), as Kafka 4 with KRaft does it; Kafka's names and defaults
    in brackets. The controller fences a broker `session_timeout_s` after its last heartbeat (broker.session.timeout.ms, 9 s): it
    is in sync no more, and the first in-sync replica in the order of replicas leads its partitions. What an idempotent producer
    has outstanding there it sends again, in order, after `retry_backoff_s`, doubled each time up to `retry_backoff_max_s`
    (retry.backoff.ms, 100 ms; retry.backoff.max.ms, 1 s), and gives up frames that are `delivery_timeout_s` old by then
    (delivery.timeout.ms, 120 s): they are shed. With `acks: all` the leader takes nothing below `min_insync_replicas`
    (min.insync.replicas). What was acknowledged and the new leader does not have is lost, which `acks: all` rules out as long
    as only in-sync replicas lead; with `unclean_election` another one does if none is left (unclean.leader.election.enable).
    A broker that starts again registers after `restart_s`, not before the controller has fenced it, catches up with one
    `replicate` job for all that it missed, and is in sync then; `preferred_election_s` later it leads its partitions again
    (leader.imbalance.check.interval.seconds, 300 s). A follower that has lacked an appended request for `replica_lag_s` leaves
    the in-sync replicas (replica.lag.time.max.ms, 30 s; looked at every half of it; 0: it never does) and comes back once it
    gets requests sooner. Broker `controller` (from 1) is the active controller at first, 0: none of them is; when it fails, another one
    takes over `controller_election_s` later and gives every broker a new session (controller.quorum.fetch.timeout.ms, 2 s).
    """

    kind: Literal["log"]
    partitions: PositiveInt = 6
    brokers: PositiveInt = 3
    replication_factor: PositiveInt = 3
    min_insync_replicas: PositiveInt = 2
    acks: Literal["all", "leader", "none"] = "all"
    threads: PositiveInt = 1
    in_flight: PositiveInt = 1
    append: Demand = Demand()
    replicate: Demand = Demand()
    replication: Delay = Delay()
    fetch: Delay = Delay()
    hop: Hop = "acked"
    to: Name
    high_watermark: bool = Field(default=False, json_schema_extra=LATER)
    session_timeout_s: PositiveFloat = Field(default=9.0, json_schema_extra=LATER)
    retry_backoff_s: PositiveFloat = Field(default=0.1, json_schema_extra=LATER)
    retry_backoff_max_s: PositiveFloat = Field(default=1.0, json_schema_extra=LATER)
    delivery_timeout_s: PositiveFloat = Field(default=120.0, json_schema_extra=LATER)
    unclean_election: bool = Field(default=False, json_schema_extra=LATER)
    restart_s: NonNegativeFloat = Field(default=5.0, json_schema_extra=LATER)
    preferred_election_s: PositiveFloat = Field(default=300.0, json_schema_extra=LATER)
    replica_lag_s: NonNegativeFloat = Field(default=0.0, json_schema_extra=LATER)
    controller: NonNegativeInt = Field(default=1, json_schema_extra=LATER)
    controller_election_s: NonNegativeFloat = Field(default=2.0, json_schema_extra=LATER)
    disk_bytes_per_s: NonNegativeFloat = Field(default=0.0, json_schema_extra=LATER)
    replicate_by: Literal["push", "pull"] = Field(default="push", json_schema_extra=LATER)
    replica_fetch_min_bytes: PositiveInt = Field(default=1, json_schema_extra=LATER)
    replica_fetch_wait_s: PositiveFloat = Field(default=0.5, json_schema_extra=LATER)
    retention_s: NonNegativeFloat = Field(default=0.0, json_schema_extra=LATER)
    retention_bytes: NonNegativeInt = Field(default=0, json_schema_extra=LATER)
    segment_bytes: PositiveInt = Field(default=1 << 30, json_schema_extra=LATER)
    retention_check_s: PositiveFloat = Field(default=300.0, json_schema_extra=LATER)
    lanes: tuple[Lane, ...] = Field(default=(), json_schema_extra=LATER)

    @property
    def retains(self) -> bool:
        """Whether old segments are deleted."""
        return self.retention_s > 0.0 or self.retention_bytes > 0

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

from sentra_sim.scenario.shapes import Shape, Trace

SCHEMA_VERSION = 1

Hop = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Factor = Annotated[float, Field(ge=1.0)]
Rebalance = Literal["eager", "cooperative", "static"]
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


class Pause(Model):
    """Stretches of `length` in which nothing of a process, or of a host, gets a core: vacations, not longer service times.

    They hit everything in flight. `gap` runs from the end of one to the start of the next, the first one's from the start of the
    run. With `every_events` a pause of a process starts instead with each job by which its jobs have carried so many events since
    the last: a collector that stops the world when the heap is full. What a pause costs in CPU is a `background` job.
    """

    gap: Delay = Delay()
    length: Delay
    every_events: NonNegativeInt = 0

    @model_validator(mode="after")
    def _by_time_or_by_events(self) -> Self:
        never_zero = self.gap.noise.quantiles[-1:] != (0.0,)
        if (self.gap.mean_s > 0.0 and never_zero) == (self.every_events > 0):
            raise ValueError("must set one of gap (with a mean above 0) and every_events")
        return self


class Warmup(Model):
    """A process whose code is compiled while it runs (JIT): its demands are greater at first.

    A demand is multiplied by `1 + factor * exp(-done / cpu_s)`, where `done` is the sum of the demands, so far and without this
    factor, since the process started: at the start of the run, or by a change.
    """

    factor: NonNegativeFloat
    cpu_s: PositiveFloat


class Neighbour(Model):
    """Threads of somebody else on the host that use all the CPU they get, as any thread of normal priority; no account shows it.

    They run for `busy`, then not for `quiet`, and begin quiet; without `quiet` they always run. With `active: false` they wait to be
    switched on by a change.
    """

    threads: PositiveInt = 1
    busy: Delay = Delay()
    quiet: Delay = Delay()
    active: bool = True

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if (self.busy.mean_s > 0.0) != (self.quiet.mean_s > 0.0):
            raise ValueError("must set both busy and quiet, with means above 0, or neither")
        return self


class Host(Model):
    """Cores shared by the stations placed on the host.

    `ps` is egalitarian processor sharing, each job on at most one core. `fifo-slice` serves one run queue in order of
    arrival, a job going back to its end after `slice_s`. A demand takes 1/`speed` of its time.
    In `pauses` all cores stop at once (a stalled virtual machine); `neighbour` competes for them. What crosses from the host to
    another one, or back, is `network_s` longer on its way and gets lost with probability `loss`; it is then sent again after
    TCP's retransmission timeout, 0.2 s and twice as long with each further loss. `price_per_core_hour`, in any currency, is for
    the KPIs of cost; 0 stands for a price that is not known.
    """

    cores: PositiveInt = 2
    discipline: Literal["ps", "fifo-slice"] = "fifo-slice"
    slice_s: PositiveFloat = 0.003
    speed: PositiveFloat = 1.0
    pauses: tuple[Pause, ...] = Field(default=(), json_schema_extra=LATER)
    neighbour: Neighbour | None = Field(default=None, json_schema_extra=LATER)
    network_s: NonNegativeFloat = Field(default=0.0, json_schema_extra=LATER)
    loss: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(default=0.0, json_schema_extra=LATER)
    price_per_core_hour: NonNegativeFloat = Field(default=0.0, json_schema_extra=LATER)

    @model_validator(mode="after")
    def _pauses_by_time(self) -> Self:
        if any(pause.every_events for pause in self.pauses):
            raise ValueError("must have pauses with a gap; every_events is for those of a station")
        return self


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

    `shape` holds factors that change with time and multiply this rate, each other's too: see the blocks `Mmpp` to `Trace`. The mean
    of all but `ramp` and `flash` is one, so that `rate_eps` is the mean rate still. Evenly spaced or Poisson, arrivals follow the
    shape exactly: they are those of rate one, put where the integrated rate comes to their times.

    With `tenant_weights` each tenant offers that share of the events (the weights need not sum to one), on keys of its own that follow
    the Zipf law by themselves; without, a tenant's share is that of its keys.
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


class Admission(Model):
    """What the batcher takes, decided event by event after `receive`, as by the rules of the live gateway's `Exchange`.

    `quotas` are of single tenants, `key_quota` is the bucket of every key by itself. `max_in_flight_events` bounds the events taken
    and not yet acknowledged by the log. `guaranteed` of that room is reserved for the tenants in proportion to `weights` (equal by
    default); the rest is for whoever comes, for `bronze` tenants until half of it is in use, for `silver` ones until three
    quarters, for all others until it is full. An event that may not be taken is shed (RESOURCE_EXHAUSTED); it has cost its
    part of `receive`.
    """

    quotas: tuple[Quota, ...] = ()
    key_quota: TokenBucket | None = None
    max_in_flight_events: PositiveInt | None = None
    silver: tuple[NonNegativeInt, ...] = ()
    bronze: tuple[NonNegativeInt, ...] = ()
    guaranteed: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    weights: tuple[PositiveFloat, ...] = ()

    @model_validator(mode="after")
    def _one_rule_a_tenant(self) -> Self:
        if both := sorted({*self.silver} & {*self.bronze}):
            raise ValueError(f"must have a tenant in one class, not {both} in silver and bronze")
        named = [quota.tenant for quota in self.quotas]
        if len(named) != len(set(named)):
            raise ValueError(f"must have one quota a tenant, not {named}")
        if self.max_in_flight_events is None and (self.silver or self.bronze or self.guaranteed or self.weights):
            raise ValueError("must have max_in_flight_events with classes, guaranteed or weights")
        return self


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
    admission: Admission | None = Field(default=None, json_schema_extra=LATER)


class Log(Station):
    """A partitioned, replicated log: partition p is led by broker p mod brokers, its replicas are the brokers after it.

    One produce request per broker carries all frames waiting for it, with at most `in_flight` requests outstanding a broker.
    The leader spends `append` per request, each follower `replicate` per request; with `acks: all` the request is
    acknowledged `replication` after the last in-sync follower has it, with `acks: leader` right after the append, with
    `acks: none` when it is sent. A frame can be fetched `fetch` after it is acknowledged (and appended); with `high_watermark`
    also not before all in-sync replicas have it, which is Kafka's rule whatever the acks. With `disk_bytes_per_s` a broker
    writes the bytes of all that it appends and replicates (events times the load's `event_bytes`) one after another (0: at once).

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


class Retry(Model):
    """How a failed call is made again: after a pause drawn evenly from zero to `base_s`, doubled with each failure up to `cap_s`.

    That is full jitter (Brooker, "Exponential backoff and jitter", 2015). What has failed `attempts` times is given up.
    """

    attempts: PositiveInt = 5
    base_s: NonNegativeFloat = 0.05
    cap_s: NonNegativeFloat = 2.0


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
    With `max_age_s` set, a consumer that is about to poll drops what waits first in its queue for as long as that was
    received longer ago: such frames end as `shed`. With `adaptive_gather` a consumer does not gather while more than half of
    `max_poll_events` a consumer waits in the log, and takes eight polls to come back to `gather_s` after that.
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

    @model_validator(mode="after")
    def _room_for_replicas(self) -> Self:
        if 0 < self.max_replicas < self.replicas:
            raise ValueError(f"must set max_replicas no lower than replicas ({self.replicas})")
        return self

    @property
    def most_replicas(self) -> int:
        """How many consumers may run at a time."""
        return max(self.replicas, self.max_replicas)


class Release(Model):
    """A release of a pool's code beside `stable`: its share of the keys, and what is wrong with it.

    The demand of its jobs is the pool's times `factor`, for a share `tail_share` of them times `tail_factor` as well, for its first
    `cold_events` events times `cold_factor`, and grows by `leak_per_s` of itself a second from its start on. A share `errors` of
    its jobs fails before any work is done; stable then works on those events, as a job of its own. Its answers wait `wait_s`, which costs
    no CPU. A share `wrong` of its events gets a wrong result, of which the shadow check sees a sample.
    """

    weight: Share = 0.0
    factor: PositiveFloat = 1.0
    tail_share: Share = 0.0
    tail_factor: Factor = 1.0
    cold_events: NonNegativeInt = 0
    cold_factor: Factor = 1.0
    leak_per_s: NonNegativeFloat = 0.0
    errors: Share = 0.0
    wait_s: NonNegativeFloat = 0.0
    wrong: Share = 0.0


class Recovery(Model):
    """What it takes to serve again after a kill: `restart_s`, and of a store `redo_event_s` for each event since its last checkpoint."""

    restart_s: NonNegativeFloat = 0.0
    redo_event_s: NonNegativeFloat = 0.0


class Pool(Station):
    """`threads` workers that serve one queue in order of arrival; a job is a poll. `delay` follows the CPU work.

    `releases` are versions that may work on a share of the keys in place of the pool's own, which is called `stable`; one of them,
    the canary, has weight at a time. A poll stays one job: a thread works on stable's events, then on the canary's; each part costs
    `job_s`, its share of the frames' cost and its events'. A share `shadow_share` of the canary's events is worked on by stable
    too, which tells wrong results. A share `failure` of the consumers' calls fails after the work, without effect; it may change
    while the pipeline runs if it is set.
    A killed pool loses the work on its polls, which their callers bring again; with `recovery` it can be started again.
    """

    kind: Literal["pool"]
    threads: PositiveInt = 1
    demand: Demand = Demand()
    delay: Delay = Delay()
    hop: Hop
    to: tuple[Name, ...] = ()
    releases: dict[Name, Release] = Field(default={}, json_schema_extra=LATER)
    shadow_share: Share = Field(default=0.1, json_schema_extra=LATER)
    failure: Share | None = Field(default=None, json_schema_extra=LATER)
    recovery: Recovery | None = Field(default=None, json_schema_extra=LATER)

    @model_validator(mode="after")
    def _releases_or_recovery(self) -> Self:
        if self.releases and self.recovery is not None:
            raise ValueError("must leave out recovery beside releases")
        return self

    @property
    def as_store(self) -> Store:
        """A store that does the same: what a pool with `recovery` is to the engines."""
        shared = {name: getattr(self, name) for name in set(Store.model_fields) & set(Pool.model_fields) - {"kind"}}
        return Store(kind="store", **shared)


class Checkpoint(Model):
    """Checkpoints as PostgreSQL has them.

    One starts `every_s` after the last did (`checkpoint_timeout`), or as soon as `every_events` were committed since
    (`max_wal_size`; 0: never).

    For `seconds` from its start every fsync takes `slowdown` times as long, and the first change of each of `pages` pages since then
    writes the whole page to the log (`full_page_writes`), which makes the fsync that carries it `page_s` longer. Events
    change pages at random: n of them change `U * (1 - (1 - 1/pages)^n)` of the U pages that are still unchanged.
    """

    every_s: PositiveFloat = 300.0
    every_events: NonNegativeInt = 0
    seconds: NonNegativeFloat = 0.0
    slowdown: Annotated[float, Field(ge=1.0)] = 1.0
    pages: NonNegativeInt = 0
    page_s: NonNegativeFloat = 0.0


class Relay(Model):
    """An outbox relay: a loop on a thread of its own that hands committed polls on to the stations after the store.

    It looks every `poll_s`, takes whole polls up to `batch_events` (at least one), spends `demand` on them, and looks again at once while
    there are more. With `notify` a commit wakes it (`LISTEN`/`NOTIFY`).
    """

    poll_s: PositiveFloat = 0.1
    batch_events: PositiveInt = 1_000
    notify: bool = False
    demand: Demand = Demand()


class Blocking(Model):
    """A command that holds a thread of the store every `every_s`, in its turn: Redis' `fork`, `KEYS`, a large `DEL`, an eviction cycle.

    `child` then runs on a thread of its own: the process that a `fork` for a snapshot leaves behind.
    """

    every_s: PositiveFloat
    demand: Demand
    child: Demand = Demand()


class Merges(Model):
    """ClickHouse's parts: each flush makes one, and `fan_in` parts of one size tier are merged into one of the next, `demand` by rows.

    `threads` merge at a time (`background_pool_size`), small tiers first; parts that are being merged count until it is done. With
    `parts_to_delay` parts or more (`parts_to_delay_insert`) an insert waits
    `max_delay_s * (parts - parts_to_delay + 1) / (parts_to_throw - parts_to_delay)`, `min_delay_s` at least; with
    `parts_to_throw` (`parts_to_throw_insert`) it is refused and tried again after `retry_s`.
    """

    fan_in: Annotated[int, Field(ge=2)] = 8
    threads: PositiveInt = 1
    demand: Demand = Demand()
    parts_to_delay: PositiveInt = 1_000
    parts_to_throw: PositiveInt = 3_000
    min_delay_s: NonNegativeFloat = 0.01
    max_delay_s: NonNegativeFloat = 1.0
    retry_s: PositiveFloat = 1.0

    @model_validator(mode="after")
    def _delays_before_it_throws(self) -> Self:
        if self.parts_to_throw <= self.parts_to_delay:
            raise ValueError("must set parts_to_throw above parts_to_delay")
        return self


class Store(Station):
    """A store that makes a poll visible `delay` after `threads` connections have worked on it.

    With `flush_s` set, polls gather and one job at a time writes everything gathered, at most one each `flush_s`. `merges` then makes
    parts of what is written, and `replicas` (`max_replicas` at most, by a change) share it: polls go to them in turn, each
    flushes and merges its own.

    Without it, a poll holds one of `connections` (0: as many as come) from before its CPU work until it is visible. With
    `fsync` it commits by a flush of the log: one at a time, and what comes to commit meanwhile shares the next (group commit). A flush
    waits `commit_delay_s` first if at least `commit_siblings` other polls hold a connection. `relay` hands on what is
    visible. A killed store loses the work on its polls, which their callers bring again; with `recovery` it can be started again.
    A share `failure` of the consumers' calls fails after the work, without effect; it may change while the pipeline runs if it is set.
    """

    kind: Literal["store"]
    threads: PositiveInt = 1
    demand: Demand = Demand()
    delay: Delay = Delay()
    flush_s: NonNegativeFloat = 0.0
    hop: Hop
    to: tuple[Name, ...] = ()
    failure: Share | None = Field(default=None, json_schema_extra=LATER)
    connections: NonNegativeInt = Field(default=0, json_schema_extra=LATER)
    fsync: Delay = Field(default=Delay(), json_schema_extra=LATER)
    commit_delay_s: NonNegativeFloat = Field(default=0.0, json_schema_extra=LATER)
    commit_siblings: NonNegativeInt = Field(default=5, json_schema_extra=LATER)
    checkpoint: Checkpoint | None = Field(default=None, json_schema_extra=LATER)
    relay: Relay | None = Field(default=None, json_schema_extra=LATER)
    blocking: tuple[Blocking, ...] = Field(default=(), json_schema_extra=LATER)
    recovery: Recovery | None = Field(default=None, json_schema_extra=LATER)
    merges: Merges | None = Field(default=None, json_schema_extra=LATER)
    replicas: PositiveInt = Field(default=1, json_schema_extra=LATER)
    max_replicas: PositiveInt = Field(default=1, json_schema_extra=LATER)

    @property
    def is_transactional(self) -> bool:
        """Whether a poll's work has more to it than a thread and a delay."""
        return bool(
            self.connections
            or self.fsync.mean_s > 0.0
            or self.checkpoint
            or self.relay
            or self.blocking
            or self.recovery
        )

    @property
    def is_columnar(self) -> bool:
        """Whether what it flushes becomes parts, or goes to several replicas."""
        return self.merges is not None or self.most_replicas > 1

    @property
    def most_replicas(self) -> int:
        """How many replicas there may ever be."""
        return max(self.replicas, self.max_replicas)

    @model_validator(mode="after")
    def _one_way_of_writing(self) -> Self:
        if self.flush_s > 0.0 and self.is_transactional:
            raise ValueError(
                "must leave out flush_s beside connections, fsync, checkpoint, relay, blocking and recovery"
            )
        if self.flush_s == 0.0 and self.is_columnar:
            raise ValueError("must set flush_s with merges or replicas")
        return self


def _full_jitter() -> Delay:
    return Delay(mean_s=0.5, noise=Noise(dist="quantiles", quantiles=(0.0, 2.0)))


class Subscribers(Model):
    """The clients of an edge, over WebSocket or server-sent events, each of one tenant, spread evenly over the tenants.

    A poll is one message to each client whose tenant has an event in it; `deliver` is spent by message (`frame_s`), after
    `send`. `slow_share` of the clients read no more than `slow_read_eps` each. What a client has not read waits in its buffer; one with
    more than `buffer_events` in it, not counting what is sent anew, is cut off. It comes back after `reconnect`, doubled
    with each time in a row up to `reconnect_max_s` and then times its noise (by default full jitter), for `connect` by client
    (`frame_s`) and by event that it missed. From its last id on these are sent anew; those older than `hold_s` are gone.
    Tenants fall into `groups`; the slow clients of one are alike. The hops are those of the fast ones.
    """

    count: PositiveInt = 4
    groups: PositiveInt = 1
    deliver: Demand = Demand()
    slow_share: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    slow_read_eps: PositiveFloat = 1_000.0
    buffer_events: PositiveFloat = 10_000.0
    hold_s: PositiveFloat = 15.0
    reconnect: Delay = Field(default_factory=_full_jitter)
    reconnect_max_s: PositiveFloat = 30.0
    connect: Demand = Demand()


class Broadcast(Station):
    """Fans a poll out to subscribers.

    `handover` from the station before, `send` on the edge's thread, `network`, then `receive` on the subscriber's thread. With
    `subscribers` it matters who they are; a killed edge with `recovery` can then be started again. It does its polls again that were not
    sent, after it has let in its clients: the fast ones at once, the slow ones as they come back.
    """

    kind: Literal["broadcast"]
    subscriber_host: Name
    handover: Delay = Delay()
    send: Demand = Demand()
    network: Delay = Delay()
    receive: Demand = Demand()
    hops: tuple[Hop, Hop] = ("sent", "delivered")
    subscribers: Subscribers | None = Field(default=None, json_schema_extra=LATER)
    recovery: Recovery | None = Field(default=None, json_schema_extra=LATER)

    @model_validator(mode="after")
    def _somebody_to_come_back(self) -> Self:
        if self.recovery is not None and self.subscribers is None:
            raise ValueError("must set subscribers with recovery")
        return self


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

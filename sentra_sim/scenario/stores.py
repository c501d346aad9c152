"""The stations that consumers call: pools and stores, and what either may have."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from sentra_sim.scenario.blocks import LATER, Delay, Demand, Factor, Hop, Model, Name, Share
from sentra_sim.scenario.stations import Recovery, Station


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


class Pool(Station):
    """`threads` workers that serve one queue in order of arrival; a job is a poll. `delay` follows the CPU work.

    `releases` are versions that may work on a share of the keys in place of the pool's own, which is called `stable`; one of them,
    the canary, has weight at a time. A poll stays one job: a thread works on stable's events, then on the canary's; each part costs
    `job_s`, its share of the frames' cost and its events'. A share `shadow_share` of the canary's events is worked on by stable
    too, which tells wrong results. A share `failure` of the consumers' calls fails after the work, without effect; it may change
    while the pipeline runs if it is set.
    A killed pool loses the work on its polls, which their callers bring again; with `recovery` it can be started again, and stopped in
    order: then it brings what it has begun or queued to an end, and whoever comes waits until it has been started.
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
    visible. A killed store loses the work on its polls, which their callers bring again; with `recovery` it can be started again, and
    stopped in order: polls that hold a connection come to their end, others wait, and once none does there is nothing to redo.
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

"""A run's inputs: the offered events and every random number that a station will use.

Both engines play the same plan, so they can be compared job by job; two scenarios with the same seed share the streams of
the stations that they have in common.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sentra_sim.engine.network import ways
from sentra_sim.engine.numbers import Numbers
from sentra_sim.rng import stream
from sentra_sim.scenario import Batcher, Broadcast, ConsumerGroup, Log, Pool, Scenario, Source, Store, only
from sentra_sim.scenario.arrivals import Offered, draw_chunks, draw_offered
from sentra_sim.scenario.keys import partition_of, places_of
from sentra_sim.scenario.schema import AnyStation, Noise, Pause, Sizes

# Of a consumer's adaptive gathering, as the live worker has it: half a full poll behind it stops, eight polls bring it back.
LAG_POLLS, GROWING_POLLS = 0.5, 8
HEARTBEAT = "heartbeat"  # the purpose of the phase at which a consumer sends its first
UNIFORM = Noise(dist="quantiles", quantiles=(0.0, 1.0))  # on [0, 1): of chances, not of demands
PIECE_EVENTS = 1 << 14  # offered events that a plan which is not kept draws at a time
MIN_DRAIN_S = 10.0  # a run may go on for at least this long after the load has stopped
MIN_PAUSES, MANY_PAUSES = 16, 4096  # numbers of pauses that are looked for; a stream that is read further goes on
ENDLESS_S = 1e15  # the demand of a neighbour's job
LOSS = ("host/*", "loss")  # the stream of what gets lost between hosts: uniform numbers from 0 to 1
LIMIT_PHASE = "cpu-limit"  # purpose of the phase of a process's periods
SIZE = "size"  # purpose of the sizes of events


class Stream(NamedTuple):
    """One named stream of a plan: its key, the noise that its numbers follow, about how many jobs may need one."""

    owner: str
    purpose: str
    noise: Noise
    jobs: int


class Piece(NamedTuple):
    """Offered events that follow one another, whole messages all of them.

    `send_s`: when each message is due, shape (messages,). `first_event`: of each message among those of the piece, and where the
    last one ends, shape (messages + 1,). `intended_s`, `partition`: by event, shape (events,).
    """

    send_s: NDArray[np.float64]
    first_event: NDArray[np.int64]
    intended_s: NDArray[np.float64]
    partition: NDArray[np.int16]


@dataclass(frozen=True)
class Plan:
    """What an engine plays.

    `multipliers` holds, by (owner, purpose), the factors with mean one by which the demands or delays of that purpose are
    multiplied. `phase` holds, by the same key, at which fraction of its period a background job first runs or a limit on CPU is
    first refilled, or how far a consumer is in that of its heartbeats. A plan that is `kept` remembers what was drawn and plays it
    again at no cost; one that is not draws as it goes, each time anew, and takes the same memory for any length of run. Where
    single events are told apart for long (impatient clients, admission, releases, poison events) a plan is always kept.
    """

    scenario: Scenario
    seconds: float
    seed: int
    kept: bool
    streams: dict[tuple[str, str], Stream]
    multipliers: dict[tuple[str, str], Numbers]
    phase: dict[tuple[str, str], float]

    @property
    def cap_s(self) -> float:
        """When a run ends at the latest; what is not delivered by then stays undelivered."""
        return self.seconds + max(MIN_DRAIN_S, self.seconds)

    @cached_property
    def offered(self) -> Offered:
        """All offered events."""
        return draw_offered(self.scenario.load, self.seconds, self.seed)

    @cached_property
    def partition(self) -> NDArray[np.int16]:
        """The partition of each event, shape (events,)."""
        return partition_of(self.offered.keys, only(self.scenario, Log)[1].partitions)

    @cached_property
    def first_event(self) -> NDArray[np.int64]:
        """Message m carries the events `first_event[m]` to `first_event[m + 1] - 1`; shape (messages + 1,)."""
        return _first_events(self.offered)

    @cached_property
    def place(self) -> NDArray[np.int64]:
        """What tells a canary's events, by event where a pool has releases, shape (events,), else none."""
        if not has_releases(self.scenario):
            return np.zeros(0, dtype=np.int64)
        return places_of(self.offered.keys).astype(np.int64)

    @cached_property
    def poison(self) -> NDArray[np.float64]:
        """Numbers drawn evenly from 0 to 1, by event where a share of them may be poison, else none.

        An event is poison if its number is below that share.
        """
        events = len(self.partition) if has_poison(self.scenario) else 0
        return stream(self.seed, only(self.scenario, ConsumerGroup)[0], "poison").random(events)

    def pieces(self) -> Iterator[Piece]:
        """Reads the offered events from the start; a plan that is kept gives them all at once."""
        if self.kept:
            yield Piece(self.offered.send_s, self.first_event, self.offered.intended_s, self.partition)
            return
        partitions = only(self.scenario, Log)[1].partitions
        for offered in draw_chunks(self.scenario.load, self.seconds, self.seed, PIECE_EVENTS):
            yield Piece(
                offered.send_s, _first_events(offered), offered.intended_s, partition_of(offered.keys, partitions)
            )


def prepare(scenario: Scenario, *, seconds: float, seed: int, like: Plan | None = None, keep: bool = True) -> Plan:
    """Makes the plan of a run of `seconds` of load; its numbers are drawn when they are asked for.

    Args:
        scenario: what to run.
        seconds: length of the load, warm-up included; zero or more.
        seed: one seed for all streams.
        like: an earlier plan with the same seconds and seed. Its draws are taken over wherever they still hold, so that
            a fit which only changes demands and delays does not draw anything again.
        keep: whether to remember what is drawn, for more runs of this plan.

    Raises:
        ValueError: `like` is a plan of other seconds or another seed.
    """
    if like is not None and (like.seconds, like.seed) != (seconds, seed):
        raise ValueError(f"like: must have seconds {seconds} and seed {seed}, got {like.seconds} and {like.seed}")
    sends = most_sends(scenario)
    events = math.ceil(scenario.load.rate_eps * seconds) * sends
    messages = min(events, math.ceil(seconds / scenario.load.tick_s) * sends) if scenario.load.tick_s else events
    streams = {
        entry[:2]: entry for entry in _streams(scenario, messages, _max_frames(scenario, events, seconds), seconds)
    }
    keep = keep or tells_events_apart(scenario)
    plan = Plan(
        scenario=scenario,
        seconds=seconds,
        seed=seed,
        kept=keep,
        streams=streams,
        multipliers={key: _numbers(entry, seed, keep, like) for key, entry in streams.items()},
        phase={key: float(stream(seed, key[0], f"{key[1]}-phase").random()) for key in _periodic(scenario, streams)},
    )
    if keep and like is not None and like.kept and like.scenario.load == scenario.load:
        _take_over(plan, like)
    return plan


def _take_over(plan: Plan, like: Plan) -> None:
    """Gives a plan what one of the same load has drawn already."""
    names = ["offered", "first_event"]
    if only(like.scenario, Log)[1].partitions == only(plan.scenario, Log)[1].partitions:
        names.append("partition")
    vars(plan).update({name: getattr(like, name) for name in names})


def _first_events(offered: Offered) -> NDArray[np.int64]:
    return np.searchsorted(offered.message, np.arange(len(offered.send_s) + 1))


def most_sends(scenario: Scenario) -> int:
    """Returns how often a message is sent at most."""
    retry = only(scenario, Source)[1].retry
    return 1 + retry.retries if retry else 1


def broker_name(log: str, number: int) -> str:
    """Returns the name under which broker `number` (from 0) draws; no station can be called so."""
    return f"{log}/{number + 1}"


def replica_name(group: str, number: int) -> str:
    """Returns the name under which consumer `number` (from 0) draws; no station can be called so."""
    return f"{group}/{number + 1}"


def release_name(pool: str, release: str) -> str:
    """Returns the name under which a release of a pool draws; no station can be called so."""
    return f"{pool}/{release}"


def is_tracked(scenario: Scenario) -> bool:
    """Tells whether copies of events are tracked: a rule of admission or an impatient client needs it."""
    return only(scenario, Source)[1].retry is not None or only(scenario, Batcher)[1].admission is not None


def tells_events_apart(scenario: Scenario) -> bool:
    """Tells whether what becomes of an event depends on which one it is, beside its partition."""
    return is_tracked(scenario) or has_releases(scenario) or has_poison(scenario)


def has_releases(scenario: Scenario) -> bool:
    """Tells whether a pool has releases beside stable."""
    return any(isinstance(station, Pool) and station.releases for station in scenario.stations.values())


def has_poison(scenario: Scenario) -> bool:
    """Tells whether a share of the events may be poison: fail whenever they are processed."""
    return only(scenario, ConsumerGroup)[1].poison_share is not None


def calls_may_fail(scenario: Scenario) -> bool:
    """Tells whether a station that consumers call may fail."""
    stations = scenario.stations.values()
    return any(isinstance(station, Pool | Store) and station.failure is not None for station in stations)


def backs_off(scenario: Scenario) -> bool:
    """Tells whether consumers may have to try something again."""
    group = only(scenario, ConsumerGroup)[1]
    return calls_may_fail(scenario) or (has_poison(scenario) and not group.dlq)


def station_of(owner: str) -> str:
    """Returns the station that a broker, a replica or the station itself, as the owner of a stream, belongs to."""
    return owner.partition("/")[0]


def background_purpose(number: int) -> str:
    """Returns the purpose of a station's background job `number` (from 0)."""
    return f"background-{number}"


def blocking_purpose(number: int) -> str:
    """Returns the purpose of a store's blocking command `number` (from 0)."""
    return f"blocking-{number}"


def child_purpose(number: int) -> str:
    """Returns the purpose of what a store's blocking command `number` (from 0) leaves behind."""
    return f"child-{number}"


def background_owners(name: str, station: AnyStation) -> tuple[str, ...]:
    """Returns who runs a station's background jobs: each broker of a log its own, else the station."""
    if isinstance(station, Log):
        return tuple(broker_name(name, number) for number in range(station.brokers))
    return (name,)


def host_owner(host: str) -> str:
    """Returns the name under which a host draws; no station can be called so."""
    return f"host/{host}"


def process_owners(name: str, station: AnyStation) -> tuple[str, ...]:
    """Returns who draws for each process of a station: a log's brokers, a consumer group's replicas, else the station."""
    if isinstance(station, ConsumerGroup):
        return tuple(replica_name(name, number) for number in range(station.most_replicas))
    return background_owners(name, station)


def pause_purpose(number: int, part: str) -> str:
    """Returns the purpose of the `gap` or the `length` of pause `number` (from 0)."""
    return f"pause-{number}-{part}"


def _periodic(scenario: Scenario, streams: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    yield from (key for key in streams if key[1].startswith(("background-", "blocking-")))
    yield from _limited(scenario)
    name, group = only(scenario, ConsumerGroup)
    yield from ((replica_name(name, number), HEARTBEAT) for number in range(group.most_replicas))


def _pause_streams(owner: str, pauses: tuple[Pause, ...], cap_s: float) -> Iterator[Stream]:
    for number, pause in enumerate(pauses):
        count = math.ceil(2.0 * cap_s / pause.gap.mean_s) + MIN_PAUSES if pause.gap.mean_s > 0.0 else MANY_PAUSES
        yield Stream(owner, pause_purpose(number, "gap"), pause.gap.noise, count)
        yield Stream(owner, pause_purpose(number, "length"), pause.length.noise, count)


def _host_streams(scenario: Scenario, seconds: float) -> Iterator[Stream]:
    cap_s = seconds + max(MIN_DRAIN_S, seconds)
    for name, host in scenario.hosts.items():
        yield from _pause_streams(host_owner(name), host.pauses, cap_s)
        if host.neighbour and host.neighbour.quiet.mean_s > 0.0:
            count = math.ceil(2.0 * cap_s / (host.neighbour.quiet.mean_s + host.neighbour.busy.mean_s)) + MIN_PAUSES
            yield Stream(host_owner(name), "neighbour-busy", host.neighbour.busy.noise, count)
            yield Stream(host_owner(name), "neighbour-quiet", host.neighbour.quiet.noise, count)
    for name, station in scenario.stations.items():
        for owner in process_owners(name, station):
            yield from _pause_streams(owner, station.pauses, cap_s)


def _limited(scenario: Scenario) -> Iterator[tuple[str, str]]:
    for name, station in scenario.stations.items():
        if station.cpu_limit_cores > 0.0:
            yield from ((owner, LIMIT_PHASE) for owner in process_owners(name, station))


def _max_frames(scenario: Scenario, events: int, seconds: float) -> int:
    """Bounds the frames of a run, about: a partition's next frame opens when its last has closed, by size or by linger."""
    _, batcher = only(scenario, Batcher)
    if batcher.linger_s == 0.0 or batcher.batch_bytes > 0:
        return events
    lingers = (seconds + max(MIN_DRAIN_S, seconds)) / batcher.linger_s
    partitions = only(scenario, Log)[1].partitions
    return min(events, int(partitions * (lingers + 2) + events / batcher.max_events) + 1)


def _streams(scenario: Scenario, messages: int, frames: int, seconds: float) -> Iterator[Stream]:
    for name, station in scenario.stations.items():
        yield from _station_streams(name, station, messages, frames, seconds)
        if isinstance(station, Pool | Store) and station.failure is not None:
            yield Stream(name, "failure", UNIFORM, frames)
        if isinstance(station, ConsumerGroup) and backs_off(scenario):
            for number in range(station.most_replicas):
                yield Stream(replica_name(name, number), "jitter", UNIFORM, frames)
        if isinstance(station, Pool):
            for release in station.releases:
                yield Stream(release_name(name, release), "demand", station.demand.noise, frames)
                for purpose in ("tail", "error", "shadow"):
                    yield Stream(release_name(name, release), purpose, UNIFORM, frames)
        for owner in background_owners(name, station):
            for number, job in enumerate(station.background):
                count = math.ceil(seconds / job.every_s) + 1
                yield Stream(owner, background_purpose(number), job.demand.noise, count)
    if scenario.load.sizes is not None:
        count = math.ceil(scenario.load.rate_eps * seconds)
        yield Stream(only(scenario, Batcher)[0], SIZE, _size_noise(scenario.load.sizes), count)
    yield from _host_streams(scenario, seconds)
    if ways(scenario):
        yield Stream(*LOSS, UNIFORM, max(frames, messages))


def _station_streams(name: str, station: AnyStation, messages: int, frames: int, seconds: float) -> Iterator[Stream]:
    match station:
        case Source():
            yield Stream(name, "send", station.send.noise, messages)
            if station.retry:
                yield Stream(name, "resend", station.send.noise, messages)
                yield Stream(name, "backoff", station.retry.backoff.noise, messages)
        case Batcher():
            yield Stream(name, "network", station.network.noise, messages)
            yield Stream(name, "receive", station.receive.noise, messages)
            yield Stream(name, "timer", station.timer.noise, frames)
            yield Stream(name, "close", station.close.noise, frames)
        case Log():
            for number in range(station.brokers):
                for purpose in ("append", "replicate", "replication", "fetch"):
                    yield Stream(broker_name(name, number), purpose, getattr(station, purpose).noise, frames)
        case ConsumerGroup():
            for number in range(station.most_replicas):
                yield Stream(replica_name(name, number), "fetch", station.fetch.noise, frames)
                yield Stream(replica_name(name, number), "process", station.process.noise, frames)
                yield Stream(replica_name(name, number), "finish", station.finish.noise, frames)
                yield Stream(replica_name(name, number), "dedupe", station.dedupe.noise, frames)
        case Pool() | Store():
            yield Stream(name, "demand", station.demand.noise, frames)
            yield Stream(name, "delay", station.delay.noise, frames)
            if isinstance(station, Store):
                yield from _store_streams(name, station, frames, seconds)
        case Broadcast():
            yield from _edge_streams(name, station, frames)


def _size_noise(sizes: Sizes) -> Noise:
    if sizes.dist == "mix":
        return UNIFORM
    return Noise(dist=sizes.dist, cv=sizes.cv)


def _edge_streams(name: str, edge: Broadcast, frames: int) -> Iterator[Stream]:
    for purpose in ("handover", "send", "network", "receive"):
        yield Stream(name, purpose, getattr(edge, purpose).noise, frames)
    if edge.subscribers is not None:
        for purpose in ("deliver", "connect", "reconnect"):
            yield Stream(name, purpose, getattr(edge.subscribers, purpose).noise, frames)


def _store_streams(name: str, store: Store, frames: int, seconds: float) -> Iterator[Stream]:
    if store.fsync.mean_s > 0.0:
        yield Stream(name, "fsync", store.fsync.noise, frames)
    if store.relay is not None:
        yield Stream(name, "relay", store.relay.demand.noise, frames)
    if store.merges is not None:
        yield Stream(name, "merge", store.merges.demand.noise, frames)
    for number, command in enumerate(store.blocking):
        count = math.ceil(seconds / command.every_s) + 1
        yield Stream(name, blocking_purpose(number), command.demand.noise, count)
        yield Stream(name, child_purpose(number), command.child.noise, count)


def _numbers(entry: Stream, seed: int, keep: bool, like: Plan | None) -> Numbers:
    before = like.multipliers.get(entry[:2]) if like is not None else None
    if before is not None and before.noise == entry.noise and before.kept == keep:
        return before
    return Numbers(entry.noise, seed, entry.owner, entry.purpose, jobs=entry.jobs, kept=keep)

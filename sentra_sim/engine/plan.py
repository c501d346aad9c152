"""A run's inputs, drawn before it starts: the offered events and every random number that a station will use.

Both engines play the same plan, so they can be compared job by job; two scenarios with the same seed share the streams of
the stations that they have in common.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sentra_sim.engine.network import ways
from sentra_sim.rng import stream
from sentra_sim.scenario import Batcher, Broadcast, ConsumerGroup, Log, Pool, Scenario, Source, Store, only
from sentra_sim.scenario.arrivals import Offered, draw_offered
from sentra_sim.scenario.keys import partition_of, places_of
from sentra_sim.scenario.schema import AnyStation, Noise, Pause, Sizes

# Of a consumer's adaptive gathering, as the live worker has it: half a full poll behind it stops, eight polls bring it back.
LAG_POLLS, GROWING_POLLS = 0.5, 8
HEARTBEAT = "heartbeat"  # the purpose of the phase at which a consumer sends its first
UNIFORM = Noise(dist="quantiles", quantiles=(0.0, 1.0))  # on [0, 1): of chances, not of demands
MIN_DRAIN_S = 10.0  # a run may go on for at least this long after the load has stopped
MIN_PAUSES, MANY_PAUSES = 16, 4096  # numbers drawn for pauses; a stream that runs out starts again
ENDLESS_S = 1e15  # the demand of a neighbour's job
LOSS = ("host/*", "loss")  # the stream of what gets lost between hosts: uniform numbers from 0 to 1
LIMIT_PHASE = "cpu-limit"  # purpose of the phase of a process's periods
SIZE, MOST_SIZES = "size", 1 << 20  # purpose of the sizes of events, and how many are drawn before they repeat


class Stream(NamedTuple):
    """One named stream of a plan: its key, the noise that its numbers follow, how many jobs may need one."""

    owner: str
    purpose: str
    noise: Noise
    jobs: int


@dataclass(frozen=True)
class Plan:
    """What an engine plays.

    `first_event` has shape (messages + 1,): message m carries the events `first_event[m]` to `first_event[m + 1] - 1`.
    `partition` has shape (events,); so has `place`, which tells a canary's events, where a pool has releases, else none; so has
    `poison`, where a share of the events may be: an event is if its number, drawn evenly from 0 to 1, is below that share.
    `multipliers` holds, by (owner, purpose), the factors with mean one by which the demands or
    delays of that purpose are multiplied, in order of use; a constant one has shape (1,). `phase` holds, by the same
    key, at which fraction of its period a background job first runs or a limit on CPU is first refilled, or how far a consumer
    is in that of its heartbeats.
    """

    scenario: Scenario
    seconds: float
    seed: int
    offered: Offered
    first_event: NDArray[np.int64]
    partition: NDArray[np.int16]
    max_frames: int
    streams: dict[tuple[str, str], Stream]
    multipliers: dict[tuple[str, str], NDArray[np.float64]]
    phase: dict[tuple[str, str], float]
    place: NDArray[np.int64]
    poison: NDArray[np.float64]

    @property
    def cap_s(self) -> float:
        """When a run ends at the latest; what is not delivered by then stays undelivered."""
        return self.seconds + max(MIN_DRAIN_S, self.seconds)


def prepare(scenario: Scenario, *, seconds: float, seed: int, like: Plan | None = None) -> Plan:
    """Draws everything random about a run of `seconds` of load.

    Args:
        scenario: what to run.
        seconds: length of the load, warm-up included; zero or more.
        seed: one seed for all streams.
        like: an earlier plan with the same seconds and seed. Its draws are taken over wherever they still hold, so that
            a fit which only changes demands and delays does not draw anything again.

    Raises:
        ValueError: `like` is a plan of other seconds or another seed.
    """
    if like is not None and (like.seconds, like.seed) != (seconds, seed):
        raise ValueError(f"like: must have seconds {seconds} and seed {seed}, got {like.seconds} and {like.seed}")
    same_load = like is not None and like.scenario.load == scenario.load
    offered = like.offered if like is not None and same_load else draw_offered(scenario.load, seconds, seed)
    partitions = only(scenario, Log)[1].partitions
    if like is not None and same_load and only(like.scenario, Log)[1].partitions == partitions:
        partition, first_event = like.partition, like.first_event
    else:
        partition = partition_of(offered.keys, partitions)
        first_event = np.searchsorted(offered.message, np.arange(len(offered.send_s) + 1))
    sends = most_sends(scenario)
    max_frames = _max_frames(scenario, len(partition) * sends, seconds)
    streams = {entry[:2]: entry for entry in _streams(scenario, len(offered.send_s) * sends, max_frames, seconds)}
    return Plan(
        scenario=scenario,
        seconds=seconds,
        seed=seed,
        offered=offered,
        first_event=first_event,
        partition=partition,
        max_frames=max_frames,
        streams=streams,
        multipliers={key: _multipliers(entry, seed, like) for key, entry in streams.items()},
        place=places_of(offered.keys).astype(np.int64) if has_releases(scenario) else np.zeros(0, dtype=np.int64),
        phase={key: float(stream(seed, key[0], f"{key[1]}-phase").random()) for key in _periodic(scenario, streams)},
        poison=_poison(scenario, len(partition), seed),
    )


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


def has_releases(scenario: Scenario) -> bool:
    """Tells whether a pool has releases beside stable."""
    return any(isinstance(station, Pool) and station.releases for station in scenario.stations.values())


def calls_may_fail(scenario: Scenario) -> bool:
    """Tells whether a station that consumers call may fail."""
    stations = scenario.stations.values()
    return any(isinstance(station, Pool | Store) and station.failure is not None for station in stations)


def backs_off(scenario: Scenario) -> bool:
    """Tells whether consumers may have to try something again."""
    group = only(scenario, ConsumerGroup)[1]
    return calls_may_fail(scenario) or (group.poison_share is not None and not group.dlq)


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


def _poison(scenario: Scenario, events: int, seed: int) -> NDArray[np.float64]:
    name, group = only(scenario, ConsumerGroup)
    return stream(seed, name, "poison").random(events if group.poison_share is not None else 0)


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
    """Bounds the frames of a run: a partition's next frame opens when its last has closed, by size or by linger."""
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
        count = min(math.ceil(scenario.load.rate_eps * seconds), MOST_SIZES)
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


def _multipliers(entry: Stream, seed: int, like: Plan | None) -> NDArray[np.float64]:
    if like is not None:
        before = like.streams.get((entry.owner, entry.purpose))
        if before is not None and before.noise == entry.noise and before.jobs >= entry.jobs:
            return like.multipliers[entry.owner, entry.purpose]
    rng = stream(seed, entry.owner, entry.purpose)
    count = max(entry.jobs, 1)
    match entry.noise.dist:
        case "constant":
            return np.ones(1)
        case "exponential":
            return rng.standard_exponential(count)
        case "lognormal":
            variance = math.log1p(entry.noise.cv**2)
            return np.exp(math.sqrt(variance) * rng.standard_normal(count) - variance / 2)
        case "quantiles":
            points = np.asarray(entry.noise.quantiles, dtype=np.float64)
            return np.asarray(np.interp(rng.random(count), np.linspace(0.0, 1.0, len(points)), points))

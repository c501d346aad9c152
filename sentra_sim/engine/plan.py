"""A run's inputs, drawn before it starts: the offered events and every random number that a station will use.

Both engines play the same plan, so they can be compared job by job; two scenarios with the same seed share the streams of
the stations that they have in common.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sentra_sim.rng import stream
from sentra_sim.scenario import Batcher, Broadcast, ConsumerGroup, Log, Pool, Scenario, Source, Store, only
from sentra_sim.scenario.arrivals import Offered, draw_offered
from sentra_sim.scenario.keys import partition_of
from sentra_sim.scenario.schema import AnyStation, Noise

MIN_DRAIN_S = 10.0  # a run may go on for at least this long after the load has stopped


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
    `partition` has shape (events,). `multipliers` holds, by (owner, purpose), the factors with mean one by which the demands or
    delays of that purpose are multiplied, in order of use; a constant one has shape (1,). `phase` holds, by the same
    key, at which fraction of its period a background job first runs.
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
    max_frames = _max_frames(scenario, len(partition), seconds)
    streams = {entry[:2]: entry for entry in _streams(scenario, len(offered.send_s), max_frames, seconds)}
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
        phase={key: float(stream(seed, key[0], f"{key[1]}-phase").random()) for key in streams if _is_background(key)},
    )


def broker_name(log: str, number: int) -> str:
    """Returns the name under which broker `number` (from 0) draws; no station can be called so."""
    return f"{log}/{number + 1}"


def replica_name(group: str, number: int) -> str:
    """Returns the name under which consumer `number` (from 0) draws; no station can be called so."""
    return f"{group}/{number + 1}"


def station_of(owner: str) -> str:
    """Returns the station that a broker, a replica or the station itself, as the owner of a stream, belongs to."""
    return owner.partition("/")[0]


def background_purpose(number: int) -> str:
    """Returns the purpose of a station's background job `number` (from 0)."""
    return f"background-{number}"


def background_owners(name: str, station: AnyStation) -> tuple[str, ...]:
    """Returns who runs a station's background jobs: each broker of a log its own, else the station."""
    if isinstance(station, Log):
        return tuple(broker_name(name, number) for number in range(station.brokers))
    return (name,)


def _is_background(key: tuple[str, str]) -> bool:
    return key[1].startswith("background-")


def _max_frames(scenario: Scenario, events: int, seconds: float) -> int:
    """Bounds the frames of a run: a partition's next frame opens when its last has closed, by size or by linger."""
    _, batcher = only(scenario, Batcher)
    if batcher.linger_s == 0.0:
        return events
    lingers = (seconds + max(MIN_DRAIN_S, seconds)) / batcher.linger_s
    partitions = only(scenario, Log)[1].partitions
    return min(events, int(partitions * (lingers + 2) + events / batcher.max_events) + 1)


def _streams(scenario: Scenario, messages: int, frames: int, seconds: float) -> Iterator[Stream]:
    for name, station in scenario.stations.items():
        yield from _station_streams(name, station, messages, frames)
        for owner in background_owners(name, station):
            for number, job in enumerate(station.background):
                count = math.ceil(seconds / job.every_s) + 1
                yield Stream(owner, background_purpose(number), job.demand.noise, count)


def _station_streams(name: str, station: AnyStation, messages: int, frames: int) -> Iterator[Stream]:
    match station:
        case Source():
            yield Stream(name, "send", station.send.noise, messages)
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
            for number in range(station.replicas):
                yield Stream(replica_name(name, number), "fetch", station.fetch.noise, frames)
                yield Stream(replica_name(name, number), "process", station.process.noise, frames)
                yield Stream(replica_name(name, number), "finish", station.finish.noise, frames)
        case Pool() | Store():
            yield Stream(name, "demand", station.demand.noise, frames)
            yield Stream(name, "delay", station.delay.noise, frames)
        case Broadcast():
            yield Stream(name, "handover", station.handover.noise, frames)
            yield Stream(name, "send", station.send.noise, frames)
            yield Stream(name, "network", station.network.noise, frames)
            yield Stream(name, "receive", station.receive.noise, frames)


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

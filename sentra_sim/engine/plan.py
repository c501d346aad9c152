"""A run's inputs: the offered events and every random number that a station will use.

Both engines play the same plan, so they can be compared job by job; two scenarios with the same seed share the streams of
the stations that they have in common.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sentra_sim.engine.numbers import Numbers
from sentra_sim.rng import stream
from sentra_sim.scenario import Batcher, Broadcast, ConsumerGroup, Log, Pool, Scenario, Source, Store, only
from sentra_sim.scenario.arrivals import Offered, draw_chunks, draw_offered
from sentra_sim.scenario.keys import partition_of
from sentra_sim.scenario.schema import AnyStation, Noise

PIECE_EVENTS = 1 << 14  # offered events that a plan which is not kept draws at a time
MIN_DRAIN_S = 10.0  # a run may go on for at least this long after the load has stopped


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
    multiplied. `phase` holds, by the same key, at which fraction of its period a background job first runs. A plan that is
    `kept` remembers what was drawn and plays it again at no cost; one that is not draws as it goes, each time anew, and takes
    the same memory for any length of run.
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
    events = math.ceil(scenario.load.rate_eps * seconds)
    messages = min(events, math.ceil(seconds / scenario.load.tick_s)) if scenario.load.tick_s else events
    streams = {
        entry[:2]: entry for entry in _streams(scenario, messages, _max_frames(scenario, events, seconds), seconds)
    }
    plan = Plan(
        scenario=scenario,
        seconds=seconds,
        seed=seed,
        kept=keep,
        streams=streams,
        multipliers={key: _numbers(entry, seed, keep, like) for key, entry in streams.items()},
        phase={key: float(stream(seed, key[0], f"{key[1]}-phase").random()) for key in streams if _is_background(key)},
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


def _numbers(entry: Stream, seed: int, keep: bool, like: Plan | None) -> Numbers:
    before = like.multipliers.get(entry[:2]) if like is not None else None
    if before is not None and before.noise == entry.noise and before.kept == keep:
        return before
    return Numbers(entry.noise, seed, entry.owner, entry.purpose, jobs=entry.jobs, kept=keep)

"""Which streams of random numbers a scenario has, and about how many numbers each may need."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from sentra_sim.engine.audience import sse_demands
from sentra_sim.engine.facts import backs_off
from sentra_sim.engine.network import ways
from sentra_sim.engine.owners import (
    background_owners,
    background_purpose,
    blocking_purpose,
    broker_name,
    child_purpose,
    host_owner,
    pause_purpose,
    process_owners,
    release_name,
    replica_name,
)
from sentra_sim.scenario import Batcher, Broadcast, ConsumerGroup, Log, Pool, Scenario, Source, Store, only
from sentra_sim.scenario.schema import AnyStation, Noise, Pause, Sizes

UNIFORM = Noise(dist="quantiles", quantiles=(0.0, 1.0))  # on [0, 1): of chances, not of demands
MIN_DRAIN_S = 10.0  # a run may go on for at least this long after the load has stopped
MIN_PAUSES, MANY_PAUSES = 16, 4096  # numbers of pauses that are looked for; a stream that is read further goes on
LOSS = ("host/*", "loss")  # the stream of what gets lost between hosts: uniform numbers from 0 to 1
SIZE = "size"  # purpose of the sizes of events


class Stream(NamedTuple):
    """One named stream of a plan: its key, the noise that its numbers follow, about how many jobs may need one."""

    owner: str
    purpose: str
    noise: Noise
    jobs: int


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


def streams_of(scenario: Scenario, messages: int, frames: int, seconds: float) -> Iterator[Stream]:
    """Yields all streams of a run; about so many messages and frames pass."""
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
        for purpose, demand in sse_demands(edge.subscribers).items():
            yield Stream(name, purpose, demand.noise, frames)


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


def max_frames(scenario: Scenario, events: int, seconds: float) -> int:
    """Bounds the frames of a run, about: a partition's next frame opens when its last has closed, by size or by linger."""
    _, batcher = only(scenario, Batcher)
    if batcher.linger_s == 0.0 or batcher.batch_bytes > 0:
        return events
    lingers = (seconds + max(MIN_DRAIN_S, seconds)) / batcher.linger_s
    partitions = only(scenario, Log)[1].partitions
    return min(events, int(partitions * (lingers + 2) + events / batcher.max_events) + 1)

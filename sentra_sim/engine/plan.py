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

from sentra_sim.engine.facts import has_poison, has_releases, most_sends, tells_events_apart
from sentra_sim.engine.numbers import Numbers
from sentra_sim.engine.owners import process_owners, replica_name
from sentra_sim.engine.streams import MIN_DRAIN_S, Stream, max_frames, streams_of
from sentra_sim.rng import stream
from sentra_sim.scenario import ConsumerGroup, Log, Scenario, only
from sentra_sim.scenario.arrivals import Offered, draw_chunks, draw_offered
from sentra_sim.scenario.keys import places_of
from sentra_sim.scenario.lanes import route

# Of a consumer's adaptive gathering, as the live worker has it: half a full poll behind it stops, eight polls bring it back.
LAG_POLLS, GROWING_POLLS = 0.5, 8
HEARTBEAT = "heartbeat"  # the purpose of the phase at which a consumer sends its first
PIECE_EVENTS = 1 << 14  # offered events that a plan which is not kept draws at a time
ENDLESS_S = 1e15  # the demand of a neighbour's job
LIMIT_PHASE = "cpu-limit"  # purpose of the phase of a process's periods


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
        return route(self.offered.keys, only(self.scenario, Log)[1], self.scenario.load.tenants)

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
        log, tenants = only(self.scenario, Log)[1], self.scenario.load.tenants
        for offered in draw_chunks(self.scenario.load, self.seconds, self.seed, PIECE_EVENTS):
            partition = route(offered.keys, log, tenants)
            yield Piece(offered.send_s, _first_events(offered), offered.intended_s, partition)


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
        entry[:2]: entry for entry in streams_of(scenario, messages, max_frames(scenario, events, seconds), seconds)
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
    log, before = only(plan.scenario, Log)[1], only(like.scenario, Log)[1]
    if (before.partitions, before.lanes) == (log.partitions, log.lanes):
        names.append("partition")
    vars(plan).update({name: getattr(like, name) for name in names})


def _first_events(offered: Offered) -> NDArray[np.int64]:
    return np.searchsorted(offered.message, np.arange(len(offered.send_s) + 1))


def _periodic(scenario: Scenario, streams: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    yield from (key for key in streams if key[1].startswith(("background-", "blocking-")))
    yield from _limited(scenario)
    name, group = only(scenario, ConsumerGroup)
    yield from ((replica_name(name, number), HEARTBEAT) for number in range(group.most_replicas))


def _limited(scenario: Scenario) -> Iterator[tuple[str, str]]:
    for name, station in scenario.stations.items():
        if station.cpu_limit_cores > 0.0:
            yield from ((owner, LIMIT_PHASE) for owner in process_owners(name, station))


def _numbers(entry: Stream, seed: int, keep: bool, like: Plan | None) -> Numbers:
    before = like.multipliers.get(entry[:2]) if like is not None else None
    if before is not None and before.noise == entry.noise and before.kept == keep:
        return before
    return Numbers(entry.noise, seed, entry.owner, entry.purpose, jobs=entry.jobs, kept=keep)

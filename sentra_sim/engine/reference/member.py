"""One consumer of the group, and the group as its coordinator sees it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

import simpy

from sentra_sim.engine.reference.calls import Breaker
from sentra_sim.engine.reference.hosts import Draws, Thread, Work
from sentra_sim.engine.reference.waiting import Waiting
from sentra_sim.engine.reference.world import Batch, Frame
from sentra_sim.scenario import ConsumerGroup


@dataclass(eq=False)
class Member:
    """One consumer. `joined` is what the group's coordinator believes, `alive` whether the process polls."""

    number: int
    phase: float  # of its heartbeats, as a fraction of their period
    fetch: Work
    process: Work
    finish: Work
    dedupe: Work
    thread: Thread
    waiting: Waiting
    wake: simpy.Event | None = None
    poll: Batch | None = None
    jitter: Draws | None = None
    breakers: list[Breaker] = field(default_factory=list)  # one for each station that is called
    gather_s: float = 0.0
    life: int = 0  # counts what ends a process or begins one: what was meant for another life is void
    session: int = 0
    alive: bool = False
    joined: bool = False
    starting: bool = False
    returning: bool = False  # waits for the session of the consumer that it was before
    leaving: bool = False  # ends after its poll
    fenced: bool = False  # was stopped for longer than its session: it finds out when it goes on
    late: bool = False  # has left the group for its poll, which others take, and goes on with that
    overdue: bool = False  # is late as soon as it goes on
    watched: bool = False  # the timer of its polls is set
    polled_s: float = 0.0  # when it polled last
    giving_up: bool = False  # gives partitions up after its poll
    heard: bool = False  # of the eager rebalance under way


class Group(Protocol):
    """The consumers, whose polls go on whoever owns what."""

    spec: ConsumerGroup
    members: list[Member]
    owner: list[int]
    orphans: deque[Frame]

    def begin(self, member: Member) -> None:
        """Begins the poll loop of a consumer's process."""

    def offer(self, frame: Frame) -> None:
        """Offers a frame to the consumer that owns its partition, or keeps it for who will."""

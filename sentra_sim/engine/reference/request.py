"""Produce requests of the log."""

from __future__ import annotations

from dataclasses import dataclass, field

from sentra_sim.engine.reference.world import Batch


@dataclass(eq=False)
class Request(Batch):
    """A produce request, or all that a follower has missed."""

    count: int = 0  # frames
    bytes: float = 0.0
    acked: bool = False
    appended: bool = False
    appended_s: float = 0.0
    gone: bool = False  # what its leader's followers still do about it counts no more
    fetched: bool = False
    lost: bool = False
    orphan: bool = False  # its sender has ended: nobody hears its acknowledgement, nor sends it again
    have: set[int] = field(default_factory=set)  # brokers that have it
    needs: set[int] = field(default_factory=set)  # in-sync followers that have not
    sent: set[int] = field(default_factory=set)  # followers that have it or will have it from their queue

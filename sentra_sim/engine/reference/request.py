"""Produce requests of the log, and the frames that they carry for as long as they may be sent."""

from __future__ import annotations

from dataclasses import dataclass, field

from sentra_sim.engine.reference.world import Batch, Frame
from sentra_sim.engine.trace import SHED


@dataclass(eq=False)
class Request(Batch):
    """A produce request; or, with `catch_up`, all that a follower has missed."""

    count: int = 0  # frames
    catch_up: bool = False
    acked: bool = False
    appended: bool = False
    appended_s: float = 0.0
    gone: bool = False  # what its leader's followers still do about it counts no more
    fetched: bool = False
    lost: bool = False
    have: set[int] = field(default_factory=set)  # brokers that have it
    needs: set[int] = field(default_factory=set)  # in-sync followers that have not
    sent: set[int] = field(default_factory=set)  # followers that have it or will have it from their queue


def fresh(frames: list[Frame], now_s: float, timeout_s: float) -> list[Frame]:
    """Returns the frames that may still be sent; the others are shed."""
    kept: list[Frame] = []
    for frame in frames:
        if now_s - frame.hops_s[1] < timeout_s:
            kept.append(frame)
        else:
            frame.outcome = SHED
    return kept

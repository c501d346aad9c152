"""What a way between two hosts adds to a delay, in the reference engine."""

from __future__ import annotations

from dataclasses import dataclass

from sentra_sim.engine.network import RETRIES, RTO_MAX_S, RTO_MIN_S
from sentra_sim.engine.reference.hosts import Draws


@dataclass
class Link:
    """A host's link to all others."""

    network_s: float
    loss: float


def crossing_s(one: Link, other: Link, draws: Draws) -> float:
    """Returns what is added to a delay: the time of both links, and TCP's timeouts for what gets lost."""
    added_s = one.network_s + other.network_s
    loss = 1.0 - (1.0 - one.loss) * (1.0 - other.loss)
    if loss > 0.0:
        timeout_s, tries = RTO_MIN_S, 0
        while tries < RETRIES and draws.next() < loss:
            added_s += timeout_s
            timeout_s, tries = min(2.0 * timeout_s, RTO_MAX_S), tries + 1
    return added_s

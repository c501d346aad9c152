"""How long to wait before trying a store again: exponential with full jitter and a cap, within a total. Pure.

Full jitter (Brooker, "Exponential backoff and jitter", AWS Architecture Blog, 2015): each delay is uniform between zero and
the exponential bound, so that clients which failed together do not come back together.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from sentra_sim.errors import PlantError


class StoreAwayError(PlantError):
    """A store cannot be reached or went away in the middle of a call, whose outcome is unknown: it may be tried again."""


@dataclass(frozen=True)
class Backoff:
    """Bounds of the delays: `base_s` doubles with every failure up to `cap_s`; after `total_s` one gives up."""

    base_s: float
    cap_s: float
    total_s: float

    def bound_s(self, failures: int) -> float:
        """Returns the longest delay after so many failures before this one."""
        doublings = min(failures, 64)  # beyond it a float would overflow long after the cap
        return min(self.base_s * 2.0**doublings, self.cap_s)

    def delays_s(self, rng: random.Random) -> Iterator[float]:
        """Yields delay after delay, for ever, each uniform in [0, its bound]."""
        for failures in count():
            yield rng.uniform(0.0, self.bound_s(failures))

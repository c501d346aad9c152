"""The events that producers offer, drawn once: the load generator and both engines play the same ones for a seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sentra_sim.rng import stream
from sentra_sim.scenario.keys import draw_keys
from sentra_sim.scenario.schema import Load


@dataclass(frozen=True)
class Offered:
    """Offered events in order of intended send time.

    `intended_s`: seconds since the load's start, shape (events,). `keys`: shape (events,). `message`: the generator's
    message that carries each event, counted from 0 without gaps, shape (events,). `send_s`: when each message is due,
    shape (messages,).
    """

    intended_s: NDArray[np.float64]
    keys: NDArray[np.uint32]
    message: NDArray[np.int64]
    send_s: NDArray[np.float64]


def draw_offered(load: Load, seconds: float, seed: int) -> Offered:
    """Draws the events whose intended send times lie in [0, seconds)."""
    intended = _intended(load, seconds, seed)
    keys = draw_keys(len(intended), load.keys, load.key_skew, stream(seed, "load", "keys"))
    if load.tick_s == 0.0:
        return Offered(intended, keys, np.arange(len(intended)), intended)
    ticks, message = np.unique(np.ceil(intended / load.tick_s).astype(np.int64), return_inverse=True)
    return Offered(intended, keys, message.astype(np.int64), np.asarray(ticks * load.tick_s, dtype=np.float64))


def _intended(load: Load, seconds: float, seed: int) -> NDArray[np.float64]:
    if load.arrivals == "constant":
        return np.asarray(np.arange(int(np.ceil(seconds * load.rate_eps))) / load.rate_eps)
    rng = stream(seed, "load", "arrivals")
    count = int(seconds * load.rate_eps + 10 * np.sqrt(seconds * load.rate_eps) + 100)
    times = np.cumsum(rng.standard_exponential(count)) / load.rate_eps
    return np.asarray(times[times < seconds])

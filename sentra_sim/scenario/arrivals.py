"""The events that producers offer, drawn once: the load generator and both engines play the same ones for a seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray

from sentra_sim.rng import stream
from sentra_sim.scenario.keys import draw_keys, key_law
from sentra_sim.scenario.rates import IntegratedRate, rate_pieces
from sentra_sim.scenario.schema import Load

CHUNK_EVENTS = 1 << 18

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Offered:
    """Offered events in order of intended send time.

    `intended_s`: seconds since the load's start, shape (events,). `keys`: shape (events,). `message`: the generator's
    message that carries each event, counted from 0 without gaps, shape (events,). `send_s`: when each message is due,
    shape (messages,).
    """

    intended_s: Floats
    keys: NDArray[np.uint32]
    message: NDArray[np.int64]
    send_s: Floats


def draw_offered(load: Load, seconds: float, seed: int) -> Offered:
    """Draws the events whose intended send times lie in [0, seconds)."""
    chunks = list(draw_chunks(load, seconds, seed, CHUNK_EVENTS))
    if not chunks:
        none = np.empty(0)
        return Offered(none, none.astype(np.uint32), none.astype(np.int64), none)
    first = np.cumsum([0, *(len(chunk.send_s) for chunk in chunks[:-1])])
    return Offered(
        np.concatenate([chunk.intended_s for chunk in chunks]),
        np.concatenate([chunk.keys for chunk in chunks]),
        np.concatenate([chunk.message + start for chunk, start in zip(chunks, first, strict=True)]),
        np.concatenate([chunk.send_s for chunk in chunks]),
    )


def draw_chunks(load: Load, seconds: float, seed: int, events: int) -> Iterator[Offered]:
    """Draws the events of `draw_offered` piece by piece, in memory for one of them.

    A piece holds about `events` events, whole messages all of them; its `message` counts from 0 again. Numbers come off the
    same streams in the same order, so where the pieces end changes no event.
    """
    law, rng = key_law(load.keys, load.key_skew, tuple(load.tenant_weights)), stream(seed, "load", "keys")
    for intended in _whole_ticks(_intended(load, seconds, seed, events), load.tick_s):
        keys = draw_keys(len(intended), law, rng)
        if load.tick_s == 0.0:
            yield Offered(intended, keys, np.arange(len(intended)), intended)
            continue
        tick = _ticks(intended, load.tick_s)
        fresh = np.concatenate([[True], tick[1:] != tick[:-1]])
        yield Offered(intended, keys, np.cumsum(fresh) - 1, np.asarray(tick[fresh] * load.tick_s, dtype=np.float64))


def count_offered(load: Load, edges_s: Sequence[float], seed: int) -> tuple[int, ...]:
    """Counts the events intended between each edge (seconds since the load's start, ascending) and the next one."""
    counts = np.zeros(len(edges_s) - 1, dtype=np.int64)
    for intended in _intended(load, edges_s[-1], seed, CHUNK_EVENTS):
        counts += np.diff(np.searchsorted(intended, edges_s))
    return tuple(counts.tolist())


def step_edges(load: Load, seconds: float) -> tuple[float, ...]:
    """Returns where the steps of a load begin that is played for so long, and its end; 0 and the end without steps."""
    later = np.cumsum([step.seconds for step in load.steps[:-1]])
    return (0.0, *later[later < seconds].tolist(), seconds)


def _ticks(intended: Floats, tick_s: float) -> NDArray[np.int64]:
    return np.asarray(np.ceil(intended / tick_s).astype(np.int64))


def _whole_ticks(pieces: Iterator[Floats], tick_s: float) -> Iterator[Floats]:
    """Moves the last tick of a piece to the next one, for there may be more of it."""
    held = np.empty(0)
    for piece in pieces:
        times = np.concatenate([held, piece]) if len(held) else piece
        if not len(times):
            continue
        if tick_s == 0.0:
            yield times
            continue
        tick = _ticks(times, tick_s)
        whole = int(np.searchsorted(tick, tick[-1]))
        held = times[whole:]
        if whole:
            yield times[:whole]
    if len(held):
        yield held


def _intended(load: Load, seconds: float, seed: int, size: int) -> Iterator[Floats]:
    if load.shape:
        return _shaped(load, seconds, seed, size)
    edges = np.array(step_edges(load, seconds))
    rates = np.array([step.rate_eps for step in load.steps[: len(edges) - 1]] or [load.rate_eps])
    if load.arrivals == "constant":
        return _constant(edges, rates, size)
    return _poisson(edges, rates, size, stream(seed, "load", "arrivals"))


def _shaped(load: Load, seconds: float, seed: int, size: int) -> Iterator[Floats]:
    """Arrivals at rate one, even or Poisson, put where the integrated rate comes to their times."""
    integrated = IntegratedRate(rate_pieces(load, seconds, seed))
    for unit in _even(size) if load.arrivals == "constant" else _unit_poisson(size, stream(seed, "load", "arrivals")):
        times = integrated.times(unit)
        if times[-1] >= seconds:
            yield times[times < seconds]
            return
        yield times


def _even(size: int) -> Iterator[Floats]:
    for first in count(0, size):
        yield np.arange(first, first + size, dtype=np.float64)


def _unit_poisson(size: int, rng: np.random.Generator) -> Iterator[Floats]:
    last = 0.0
    while True:
        gaps = rng.standard_exponential(size)
        gaps[0] += last
        unit = np.cumsum(gaps)
        last = unit[-1]
        yield unit


def _constant(edges: Floats, rates: Floats, size: int) -> Iterator[Floats]:
    for number, rate in enumerate(rates.tolist()):
        start, end = edges[number], edges[number + 1]
        events = int(np.ceil((end - start) * rate))
        for first in range(0, events, size):
            times = start + np.arange(first, min(first + size, events)) / rate
            # By rounding an event may fall on the next step's first.
            yield times if number == len(rates) - 1 else times[times < end]


def _poisson(edges: Floats, rates: Floats, size: int, rng: np.random.Generator) -> Iterator[Floats]:
    """Arrivals at rate one, stretched by the inverse of the integrated rate (Çinlar 1975)."""
    passed = np.concatenate([[0.0], np.cumsum(np.diff(edges) * rates)])
    starts, ends = edges[:-1], np.concatenate([edges[1:-1], [np.inf]])
    size = min(size, int(passed[-1] + 10 * np.sqrt(passed[-1]) + 100))
    for unit in _unit_poisson(size, rng):
        step = np.searchsorted(passed[1:-1], unit, side="right") if len(rates) > 1 else 0
        times = np.minimum(starts[step] + (unit - passed[step]) / rates[step], ends[step])
        if times[-1] >= edges[-1]:
            yield times[times < edges[-1]]
            return
        yield times

"""The rate of a load over time, as straight pieces; and the times at which its integral comes to given values.

Every shape is an endless row of pieces over which its factor goes straight from one value to another. Their product with the
load's rate has pieces that end wherever one of theirs does. Curves are cut finely enough that the straight lines are within
2e-4 of them. The inverse of the integrated rate turns arrivals at rate one into arrivals at this rate (Çinlar 1975).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain, cycle, islice, pairwise, repeat
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sentra_sim.rng import stream
from sentra_sim.scenario.schema import Load
from sentra_sim.scenario.shapes import DAY_S, Burst, Diurnal, Flash, Mmpp, Ramp, Shape, Trace

Floats = NDArray[np.float64]

CUTS = 256  # pieces of a sinusoid's period, and of a ramp
CUTS_OF_DECAY = 32  # pieces while an exponential falls to 1/e
DECAYS = 16  # after so many time constants an exponential is over: 1e-7 is left
BATCH_PIECES = 4_096


class Piece(NamedTuple):
    """A stretch over which a value goes straight from `left` to `right`."""

    seconds: float
    left: float
    right: float


def rate_pieces(load: Load, seconds: float, seed: int) -> Iterator[Piece]:
    """Yields the pieces of a load's rate, events/s, from its start to `seconds`."""
    rows = [_base(load), *(_factors(shape, seed, number) for number, shape in enumerate(load.shape))]
    heads = [next(row) for row in rows]
    left_s = seconds
    while left_s > 0.0:
        length_s = min(left_s, *(head.seconds for head in heads))
        parts = [_cut(head, length_s) for head in heads]
        yield Piece(length_s, math.prod(part.left for part in parts), math.prod(part.right for part in parts))
        left_s -= length_s
        heads = [
            next(row) if head.seconds <= length_s else Piece(head.seconds - length_s, part.right, head.right)
            for row, head, part in zip(rows, heads, parts, strict=True)
        ]


class IntegratedRate:
    """The integral of a rate that is given piece by piece, inverted for values that only grow."""

    def __init__(self, pieces: Iterator[Piece]) -> None:
        self._pieces = pieces
        self._ended = False
        self._rows = np.empty((0, 3))
        self._start_s = self._passed = np.zeros(1)  # at the beginning of every piece, and at the end of the last one

    def times(self, values: Floats) -> Floats:
        """Returns when the integral comes to each of some ascending values; inf for those beyond its end."""
        while not self._ended and (not len(values) or self._passed[-1] <= values[-1]):
            self._read()
        at = np.searchsorted(self._passed[1:], values, side="right")  # a piece of rate 0 is never found
        inside = at < len(self._rows)
        times = np.full(len(values), np.inf)
        if inside.any():
            at = at[inside]
            seconds, left, right = self._rows[at].T
            beyond = values[inside] - self._passed[at]
            root = np.sqrt(np.maximum(left * left + 2.0 * (right - left) / seconds * beyond, 0.0))
            below = left + root
            into = np.divide(2.0 * beyond, below, out=np.zeros_like(below), where=below > 0.0)
            times[inside] = self._start_s[at] + np.minimum(into, seconds)
            self._forget(int(at[-1]))
        return times

    def _read(self) -> None:
        fresh = np.array(list(islice(self._pieces, BATCH_PIECES))).reshape(-1, 3)
        self._ended = len(fresh) < BATCH_PIECES
        masses = fresh[:, 0] * (fresh[:, 1] + fresh[:, 2]) / 2.0
        # Summed in one row from the last end, so that the result does not depend on where batches end.
        self._start_s = np.concatenate([self._start_s[:-1], np.cumsum([self._start_s[-1], *fresh[:, 0]])])
        self._passed = np.concatenate([self._passed[:-1], np.cumsum([self._passed[-1], *masses])])
        self._rows = np.concatenate([self._rows, fresh])

    def _forget(self, pieces: int) -> None:
        self._rows = self._rows[pieces:]
        self._start_s, self._passed = self._start_s[pieces:], self._passed[pieces:]


def _cut(piece: Piece, seconds: float) -> Piece:
    if piece.seconds <= seconds:
        return piece
    if piece.left == piece.right:
        return Piece(seconds, piece.left, piece.right)
    return Piece(seconds, piece.left, piece.left + (piece.right - piece.left) * (seconds / piece.seconds))


def _base(load: Load) -> Iterator[Piece]:
    for step in load.steps[:-1]:
        yield _flat(step.seconds, step.rate_eps)
    yield _flat(math.inf, load.steps[-1].rate_eps if load.steps else load.rate_eps)


def _flat(seconds: float, value: float) -> Piece:
    return Piece(seconds, value, value)


def _factors(shape: Shape, seed: int, number: int) -> Iterator[Piece]:
    match shape:
        case Mmpp():
            return _mmpp(shape, stream(seed, "load", f"shape-{number}"))
        case Burst():
            return _burst(shape)
        case Ramp():
            return _ramp(shape)
        case Flash():
            return _flash(shape)
        case Diurnal():
            return _diurnal(shape)
        case Trace():
            return cycle(_flat(shape.interval_s / shape.speedup, value / shape.mean) for value in shape.values)


def _mmpp(shape: Mmpp, rng: np.random.Generator) -> Iterator[Piece]:
    states, mean = shape.states, shape.mean
    ends = np.cumsum([state.mean_s for state in states])
    here = int(np.searchsorted(ends[:-1], rng.random() * ends[-1], side="right"))
    while True:
        yield _flat(states[here].mean_s * rng.standard_exponential(), states[here].rate / mean)
        here = (here + 1 + int(rng.random() * (len(states) - 1))) % len(states)


def _burst(shape: Burst) -> Iterator[Piece]:
    on, off = shape.on / shape.mean, shape.off / shape.mean
    return chain(_before(shape.at_s, off), cycle([_flat(shape.on_s, on), _flat(shape.off_s, off)]))


def _before(seconds: float, value: float) -> Iterator[Piece]:
    if seconds > 0.0:
        yield _flat(seconds, value)


def _ramp(shape: Ramp) -> Iterator[Piece]:
    yield from _before(shape.at_s, shape.before)
    # A ramp by itself is straight; the product of two is not.
    yield from _curve(np.linspace(shape.before, shape.after, CUTS + 1), shape.seconds / CUTS)
    yield _flat(math.inf, shape.after)


def _flash(shape: Flash) -> Iterator[Piece]:
    yield from _before(shape.at_s, 1.0)
    if shape.rise_s > 0.0:
        yield from _curve(np.linspace(1.0, shape.factor, CUTS + 1), shape.rise_s / CUTS)
    fallen = np.exp(-np.arange(DECAYS * CUTS_OF_DECAY + 1) / CUTS_OF_DECAY)
    yield from _curve(1.0 + (shape.factor - 1.0) * fallen, shape.decay_s / CUTS_OF_DECAY)
    yield _flat(math.inf, 1.0)


def _diurnal(shape: Diurnal) -> Iterator[Piece]:
    if shape.profile:
        hours, values = np.arange(25.0), np.array([*shape.profile, shape.profile[0]]) / np.mean(shape.profile)
    else:
        hours = np.linspace(0.0, 24.0, CUTS + 1)
        values = 1.0 + shape.amplitude * np.cos(2.0 * np.pi * (hours - shape.peak_h) / 24.0)
    knots = np.unique(np.concatenate([[0.0], np.mod(hours[:-1] - shape.start_h, 24.0), [24.0]]))
    course = np.interp(np.mod(knots + shape.start_h, 24.0), hours, values)
    hour_s = DAY_S / 24.0 / shape.speedup
    lengths_s = np.diff(knots) * hour_s
    day = [Piece(*row) for row in zip(lengths_s.tolist(), course[:-1].tolist(), course[1:].tolist(), strict=True)]
    return chain.from_iterable(repeat(day))


def _curve(values: Floats, seconds: float) -> Iterator[Piece]:
    ends = values.tolist()
    return (Piece(seconds, left, right) for left, right in pairwise(ends))

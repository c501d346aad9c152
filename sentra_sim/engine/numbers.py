"""The random numbers of one stream, drawn block by block as they are asked for."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from sentra_sim.rng import stream
from sentra_sim.scenario.schema import Noise

Floats = NDArray[np.float64]

SMALLEST_BLOCK, LARGEST_BLOCK = 64, 4096


class Numbers:
    """Factors with mean one by which the demands or delays of one purpose are multiplied, in order of use.

    Whoever reads them gets the same ones from the start. A stream that is kept remembers what was drawn, for the next reader;
    one that is not takes the memory of a block, however long it is read. Where blocks end changes no number.
    """

    def __init__(self, noise: Noise, seed: int, owner: str, purpose: str, *, jobs: int, kept: bool) -> None:
        self.noise = noise
        self.kept = kept
        self._size = max(SMALLEST_BLOCK, min(jobs, LARGEST_BLOCK))
        self._named = (seed, owner, purpose)
        self._blocks: list[Floats] = []
        self._more = self._draw()

    @property
    def constant(self) -> bool:
        """Whether every number is one."""
        return self.noise.dist == "constant"

    def blocks(self) -> Iterator[Floats]:
        """Reads the stream from its start, endlessly."""
        if not self.kept:
            yield from self._draw()
        at = 0
        while True:
            if at == len(self._blocks):
                self._blocks.append(next(self._more))
            yield self._blocks[at]
            at += 1

    def first(self, count: int) -> Floats:
        """Returns the first numbers, shape (count,)."""
        pieces, left = [np.empty(0)], count
        for block in self.blocks():
            pieces.append(block[:left])
            left -= len(pieces[-1])
            if left == 0:
                break
        return np.concatenate(pieces)

    def _draw(self) -> Iterator[Floats]:
        if self.constant:
            ones = np.ones(self._size)
            while True:
                yield ones
        rng = stream(*self._named)
        while True:
            yield _draw_block(self.noise, rng, self._size)


def _draw_block(noise: Noise, rng: np.random.Generator, count: int) -> Floats:
    match noise.dist:
        case "exponential":
            return rng.standard_exponential(count)
        case "lognormal":
            variance = math.log1p(noise.cv**2)
            return np.exp(math.sqrt(variance) * rng.standard_normal(count) - variance / 2)
        case "quantiles":
            points = np.asarray(noise.quantiles, dtype=np.float64)
            return np.asarray(np.interp(rng.random(count), np.linspace(0.0, 1.0, len(points)), points))
        case "constant":
            return np.ones(count)

"""Randomness: one seed a run, one named stream per (station, purpose).

Runs A and B of a comparison share their seed and hence their streams, however their other stations differ.
"""

from __future__ import annotations

import zlib

import numpy as np


def stream(seed: int, station: str, purpose: str) -> np.random.Generator:
    """Returns the generator of one named stream; the same three arguments give the same numbers, on any machine.

    >>> float(stream(1, "gateway", "receive").random()) == float(stream(1, "gateway", "receive").random())
    True
    """
    names = (zlib.crc32(station.encode()), zlib.crc32(purpose.encode()))
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=names)))

"""Keys, partitions and tenants of a load; the live gateway and both engines route by these same functions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

PLACES = 2**53  # a weight is a double: finer places could not be told apart


def key_weights(keys: int, skew: float, tenant_weights: Sequence[float] = ()) -> NDArray[np.float64]:
    """Returns the probabilities of keys 0..keys-1, shape (keys,).

    They follow Zipf's law: the weight of rank r is (r + 1)**-skew. With weights of tenants, those of each tenant's keys do, and sum
    to its share.

    >>> key_weights(2, 1.0).round(3).tolist()
    [0.667, 0.333]
    >>> key_weights(4, 0.0, [3.0, 1.0]).round(3).tolist()
    [0.375, 0.125, 0.375, 0.125]
    """
    if not tenant_weights:
        plain = np.arange(1, keys + 1, dtype=np.float64) ** -skew
        return np.asarray(plain / plain.sum())
    tenants = len(tenant_weights)
    number = np.arange(keys)
    weights = (number // tenants + 1.0) ** -skew
    tenant = number % tenants
    share = np.asarray(tenant_weights, dtype=np.float64) / np.sum(tenant_weights)
    return np.asarray(weights * (share / np.bincount(tenant, weights))[tenant])


class KeyLaw(NamedTuple):
    """How keys are drawn: their distribution function with infinity behind it, and a guide into it.

    `guide[i]` is the key of the number i/len(guide), so that the key of any other lies at it or a little further: drawing with
    an index table (Chen and Asau 1974).
    """

    edges: NDArray[np.float64]
    guide: NDArray[np.int32]


@lru_cache(maxsize=8)
def key_law(keys: int, skew: float, tenant_weights: tuple[float, ...] = ()) -> KeyLaw:
    """Returns the law of keys 0..keys-1; see `key_weights`."""
    edges = np.append(np.cumsum(key_weights(keys, skew, tenant_weights)), np.inf)
    places = 1 << min(max(6, (4 * keys).bit_length()), 16)  # a power of two, so that no rounding misses a place
    guide = np.searchsorted(edges, np.arange(places) / places, side="right")
    return KeyLaw(edges, guide.astype(np.int32))


def draw_keys(count: int, law: KeyLaw, rng: np.random.Generator) -> NDArray[np.uint32]:
    """Draws `count` keys by inversion of their distribution function, shape (count,)."""
    drawn = rng.random(count)
    keys = law.guide[(drawn * len(law.guide)).astype(np.int32)]
    short = np.flatnonzero(law.edges[keys] <= drawn)
    while len(short):
        keys[short] += 1
        short = short[law.edges[keys[short]] <= drawn[short]]
    return np.minimum(keys, len(law.edges) - 2).astype(np.uint32)


def partition_of(keys: NDArray[np.uint32], partitions: int | NDArray[np.uint64]) -> NDArray[np.int16]:
    """Returns the partition of each key, shape of `keys`: Fibonacci hashing, so that neighbouring hot keys spread.

    >>> partition_of(np.arange(4, dtype=np.uint32), 2).tolist()
    [0, 1, 1, 1]
    """
    mixed = (keys.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(40)
    return (mixed % np.asarray(partitions, dtype=np.uint64)).astype(np.int16)


def places_of(keys: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """Returns the place of each key, from 0 to PLACES - 1, shape of `keys`: two rounds of splitmix64's finaliser.

    A canary has the keys whose place lies below its weight. This is another hash than the one that chooses partitions, so that every
    partition sends its share to the canary.
    """
    mixed = (keys.astype(np.uint64) + np.uint64(1)) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (mixed ^ (mixed >> np.uint64(31))) >> np.uint64(11)


def tenant_of(keys: NDArray[np.uint32], tenants: int) -> NDArray[np.uint32]:
    """Returns the tenant that owns each key, shape of `keys`."""
    return np.asarray(keys % np.uint32(tenants))

"""Which release prices an event: by a hash of its key and the canary's weight.

A key has one fixed place in [0, 1); the canary has those below its weight. So a key stays with its release while the weight does,
and raising the weight only moves keys from stable to the canary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from live_adapters.pipeline.releases.releases import STABLE_NAME
from sentra_sim.errors import InputError
from sentra_sim.scenario.keys import PLACES, places_of


def goes_to_canary(keys: NDArray[np.uint32], weight: float) -> NDArray[np.bool_]:
    """Tells for each key whether the canary prices it, shape of `keys`.

    >>> goes_to_canary(np.arange(6, dtype=np.uint32), 0.5).tolist()
    [True, False, True, False, False, False]
    """
    return np.asarray(places_of(keys) < np.uint64(round(weight * PLACES)))


def canary_of(weights: Mapping[str, float]) -> tuple[str, float]:
    """Returns name and weight of the canary; `("", 0.0)` where stable prices everything.

    Raises:
        InputError: the weights are not in [0, 1], do not add up to 1, lack stable, or name two canaries.
    """
    for name, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0.0 <= weight <= 1.0:
            raise InputError(f"weights: {name}: must be from 0 to 1, got {weight!r}; mend the value")
    if STABLE_NAME not in weights:
        raise InputError(f"weights: must name {STABLE_NAME}, got {', '.join(weights) or 'nothing'}; add it")
    if not math.isclose(sum(weights.values()), 1.0, abs_tol=1e-9):
        raise InputError(f"weights: must add up to 1, got {sum(weights.values()):g}; mend {STABLE_NAME}'s")
    canaries = [name for name, weight in weights.items() if name != STABLE_NAME and weight > 0.0]
    if len(canaries) > 1:
        raise InputError(f"weights: must name one canary at a time, got {', '.join(canaries)}; set the others to 0")
    return (canaries[0], float(weights[canaries[0]])) if canaries else ("", 0.0)

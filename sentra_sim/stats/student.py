"""Student's t distribution for whole degrees of freedom; SciPy's takes longer to load than most simulations to run."""

from __future__ import annotations

import math
from functools import lru_cache


def within(angle: float, degrees: int) -> float:
    """Returns the probability that |T| <= sqrt(degrees) * tan(angle): Abramowitz and Stegun (1964), 26.7.3 and 26.7.4."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2
    term, total = (cosine if odd else 1.0), 0.0
    for power in range(odd, degrees - 1, 2):  # of the cosine in the term
        total += term
        term *= cosine**2 * (power + 1) / (power + 2)
    return 2.0 / math.pi * (angle + sine * total) if odd else sine * total


@lru_cache
def t_quantile(degrees: int, probability: float) -> float:
    """Returns what T does not exceed with a probability of at least a half.

    >>> round(t_quantile(19, 0.975), 6)
    2.093024
    """
    low, high = 0.0, math.pi / 2
    while low < (middle := (low + high) / 2) < high:
        if within(middle, degrees) < 2.0 * probability - 1.0:
            low = middle
        else:
            high = middle
    return math.sqrt(degrees) * math.tan(high)

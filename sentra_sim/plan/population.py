"""A population of releases: good ones and ones that cost more, drawn by seed."""

from __future__ import annotations

from dataclasses import dataclass

from sentra_sim.rng import stream


@dataclass(frozen=True)
class Population:
    """Releases as they might come: a share of them is bad, and takes more CPU at one station.

    `least_factor` and `most_factor`: by how much at least and at most, drawn so that the logarithm is uniform.
    """

    station: str
    bad_share: float = 0.3
    least_factor: float = 1.2
    most_factor: float = 10.0


@dataclass(frozen=True)
class Release:
    """One release: how many times the demand of a station it takes."""

    station: str
    factor: float

    @property
    def bad(self) -> bool:
        """Tells whether it is worse than what runs."""
        return self.factor > 1.0


def draw_release(population: Population, seed: int) -> Release:
    """Returns the release of a seed.

    >>> draw_release(Population("pricing", bad_share=1.0), seed=1).bad
    True
    """
    rng = stream(seed, "population", "release")
    if rng.random() >= population.bad_share:
        return Release(population.station, 1.0)
    span = population.most_factor / population.least_factor
    return Release(population.station, population.least_factor * span ** float(rng.random()))

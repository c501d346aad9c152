"""Queues with modulated arrivals and service of phase type, for the engines, for theory and for a solver apart. NumPy only."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

RATE_EPS = 1_000.0
STATES = ((3.0, 0.010), (1.0, 0.020))  # of the modulated arrivals: relative rate, mean length in s
QUANTILES = {"wait_p50_s": 0.5, "wait_p95_s": 0.95, "wait_p99_s": 0.99}


@dataclass(frozen=True, eq=False)
class Case:
    """A queue: `servers` threads, busy for `utilisation` of their time.

    `alpha`, `shape`: service as a phase type with mean one, by the start's likelihoods and the rates within.
    """

    name: str
    servers: int
    utilisation: float
    alpha: Matrix
    shape: Matrix

    @property
    def service_s(self) -> float:
        """Mean service time."""
        return self.utilisation * self.servers / RATE_EPS

    @property
    def s(self) -> Matrix:
        """The rates within a service of this mean."""
        return self.shape / self.service_s

    def draw(self, count: int, rng: np.random.Generator) -> Matrix:
        """Draws service times relative to their mean, phase by phase."""
        into = (
            self.shape / -np.diag(self.shape)[:, None]
        )  # where a phase leads to; what is missing to one ends the service
        phase = rng.choice(len(self.alpha), size=count, p=self.alpha)
        taken = np.zeros(count)
        going = np.arange(count)
        while len(going):
            here = phase[going]
            taken[going] += rng.standard_exponential(len(going)) / -self.shape[here, here]
            chance = rng.random(len(going))
            steps = np.where(np.eye(len(self.alpha), dtype=bool), 0.0, into).cumsum(axis=1)[here]
            to = (chance[:, None] >= steps).sum(axis=1)
            phase[going] = np.minimum(to, len(self.alpha) - 1)
            going = going[to < len(self.alpha)]
        return taken


def arrivals() -> tuple[Matrix, Matrix]:
    """Returns the MMPP as a Markovian arrival process D0, D1: rates of its changes without and with an arrival."""
    (high, high_s), (low, low_s) = STATES
    mean = (high * high_s + low * low_s) / (high_s + low_s)
    d1 = np.diag([high, low]) * RATE_EPS / mean
    changes = np.array([[-1.0, 1.0], [1.0, -1.0]]) / np.array([[high_s], [low_s]])
    return changes - d1, d1


def hyperexponential(cv: float) -> tuple[Matrix, Matrix]:
    """Returns H2 with mean one and balanced means: one of two exponential times, the rare one long."""
    rare = (1.0 - math.sqrt((cv**2 - 1.0) / (cv**2 + 1.0))) / 2.0
    alpha = np.array([1.0 - rare, rare])
    return alpha, np.diag(-2.0 * alpha)


def erlang(phases: int) -> tuple[Matrix, Matrix]:
    """Returns Erlang's distribution with mean one: exponential phases one after another."""
    return np.eye(phases)[0], phases * (np.eye(phases, k=1) - np.eye(phases))


CASES = (
    Case("MMPP/H2/2", 2, 0.7, *hyperexponential(2.0)),
    Case("MMPP/E3/2", 2, 0.8, *erlang(3)),
    Case("MMPP/H2/1", 1, 0.6, *hyperexponential(1.5)),
)

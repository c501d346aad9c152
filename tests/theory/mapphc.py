"""MAP/PH/c in order of arrival, solved as a plain Markov chain: how long an arrival waits, to the precision of the linear algebra.

Arrivals are a Markovian arrival process (D0, D1), service is of phase type (alpha, S); Neuts, *Matrix-Geometric Solutions in Stochastic
Models*, 1981. The chain is cut off where hardly anybody ever is. Servers are told apart, levels are solved all at once and the wait is a
phase-type time itself: nothing here is what a solver by matrix-geometric vectors does, so that either checks the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.sparse import coo_array, csc_array
from scipy.sparse.linalg import expm_multiply, splu

Matrix = NDArray[np.float64]
State = tuple[int, int, tuple[int, ...]]  # phase of arrivals, number present, phases of those in service
Move = tuple[State, State, float]


@dataclass(frozen=True, eq=False)
class MapPhC:
    """The queue; nobody comes in where `levels` are present, which must be so rare as not to matter."""

    d0: Matrix
    d1: Matrix
    alpha: Matrix
    s: Matrix
    servers: int
    levels: int

    @property
    def exits(self) -> Matrix:
        """Rates at which service ends, by phase."""
        return -self.s.sum(axis=1)

    def states(self) -> Iterator[State]:
        """Yields all states by level."""
        for present in range(self.levels + 1):
            for phases in product(range(len(self.alpha)), repeat=min(present, self.servers)):
                yield from ((arrivals, present, phases) for arrivals in range(len(self.d0)))

    def moves(self, state: State) -> Iterator[Move]:
        """Yields where a state goes at which rate."""
        arrivals, present, phases = state
        for to in range(len(self.d0)):
            if to != arrivals:
                yield state, (to, present, phases), self.d0[arrivals, to]
            if present >= self.servers:
                yield state, (to, min(present + 1, self.levels), phases), self.d1[arrivals, to]
            else:
                for phase, share in enumerate(self.alpha):
                    yield state, (to, present + 1, (*phases, phase)), self.d1[arrivals, to] * share
        for to_phases, rate in self.steps(phases):
            yield state, (arrivals, present, to_phases), rate
        for to_phases, rate in self.ends(phases, queued=present > self.servers):
            yield state, (arrivals, present - 1, to_phases), rate

    def steps(self, phases: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], float]]:
        """Yields changes of a server's phase."""
        for at, phase in enumerate(phases):
            for to in range(len(self.alpha)):
                if to != phase:
                    yield (*phases[:at], to, *phases[at + 1 :]), self.s[phase, to]

    def ends(self, phases: tuple[int, ...], *, queued: bool) -> Iterator[tuple[tuple[int, ...], float]]:
        """Yields ends of service; with somebody queued his begins at once."""
        for at, phase in enumerate(phases):
            if not queued:
                yield (*phases[:at], *phases[at + 1 :]), self.exits[phase]
                continue
            for to, share in enumerate(self.alpha):
                yield (*phases[:at], to, *phases[at + 1 :]), self.exits[phase] * share

    @cached_property
    def stationary(self) -> dict[State, float]:
        """How likely each state is."""
        states = list(self.states())
        number = {state: at for at, state in enumerate(states)}
        rows, columns, rates = zip(
            *((number[a], number[b], rate) for state in states for a, b, rate in self.moves(state) if a != b),
            strict=True,
        )
        flow = coo_array((rates, (columns, rows)), shape=(len(states), len(states))).tocsc()
        balance = flow - csc_array(np.diag(np.asarray(flow.sum(axis=0)).ravel()))
        # Balance with the first state's likelihood set to one; its own equation follows from the others.
        rest = splu(balance[1:, 1:]).solve(-balance[1:, [0]].toarray().ravel())
        weights = np.array([1.0, *rest])
        return dict(zip(states, (weights / weights.sum()).tolist(), strict=True))

    @cached_property
    def wait(self) -> tuple[Matrix, csc_array]:
        """The wait of an arrival as a phase-type time: how it begins, and the transposed rates until it ends.

        Who finds n >= c present waits until n - c + 1 services have ended; till then all servers are busy.
        """
        all_phases = list(product(range(len(self.alpha)), repeat=self.servers))
        most = self.levels - self.servers + 1
        number = {key: at for at, key in enumerate(product(range(1, most + 1), all_phases))}
        begin = np.zeros(len(number))
        comes = self.d1.sum(axis=1)
        rate = sum(likely * comes[arrivals] for (arrivals, _, _), likely in self.stationary.items())
        for (arrivals, present, phases), likely in self.stationary.items():
            if present >= self.servers:
                begin[number[present - self.servers + 1, phases]] += likely * comes[arrivals] / rate
        rows, columns, rates = [], [], []
        for (left, phases), at in number.items():
            inside = [(left, to, rate) for to, rate in self.steps(phases)]
            through = [(left - 1, to, rate) for to, rate in self.ends(phases, queued=True)]
            for to_left, to, move in (*inside, *through):
                rows.append(at), columns.append(at), rates.append(-move)
                if to_left > 0:
                    rows.append(number[to_left, to]), columns.append(at), rates.append(move)
        return begin, coo_array((rates, (rows, columns)), shape=(len(number), len(number))).tocsc()

    def waits_longer(self, seconds: float) -> float:
        """Returns how likely an arrival waits longer than so."""
        begin, rates = self.wait
        return float(expm_multiply(rates * seconds, begin).sum())

    def wait_quantile_s(self, q: float) -> float:
        """Returns a quantile of the wait, s; 0 where more than that do not wait at all."""
        if self.waits_longer(0.0) <= 1.0 - q:
            return 0.0
        end_s = self.mean_wait_s
        while self.waits_longer(end_s) > 1.0 - q:
            end_s *= 2.0
        return float(brentq(lambda at_s: self.waits_longer(at_s) - (1.0 - q), 0.0, end_s, xtol=1e-12, rtol=1e-10))

    @property
    def mean_wait_s(self) -> float:
        """Returns the mean wait, s, of those too that need not."""
        begin, rates = self.wait
        return float(splu(rates).solve(-begin).sum())

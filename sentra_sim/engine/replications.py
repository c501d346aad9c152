"""Simulations repeated with other seeds until their quantiles are as precise as asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sentra_sim.engine.run import Engine, simulate
from sentra_sim.errors import InputError
from sentra_sim.kpi import QUANTILES, end_to_end, saturated_hops, timeline
from sentra_sim.kpi.saturation import backlog_growth, saturated
from sentra_sim.kpi.timeline import Timeline
from sentra_sim.records import Manifest, Run, Tables
from sentra_sim.scenario import Scenario
from sentra_sim.stats import Interval, until_half_width, warmup_cut

PILOTS = 5
TICK_S = 0.1


@dataclass(frozen=True)
class Replicated:
    """What the replications gave.

    `intervals`: by name of the KPI, seconds. `warmup_s`: what was cut off each: as asked for, or more where MSER-5 said so. `first`: the
    first replication as a run. `saturated`: the hops before which events pile up, with by how many events/s more there are; it has no
    intervals then, and one replication.
    """

    intervals: dict[str, Interval]
    replications: int
    reached: bool
    warmup_s: float
    first: tuple[Tables, Manifest]
    saturated: dict[str, float] = field(default_factory=dict)


class Replications:
    """A scenario's replications by number, number i with the seed `seed` + i; the first few are pilots, and not played again.

    `warmup_s`: what is cut off each. `first`: number 0 as a run. `saturated`: as of `Replicated`, when every pilot is.

    Raises:
        InputError: the scenario has no latency KPI, a length is not positive, or there is no such engine.
    """

    def __init__(
        self, scenario: Scenario, *, seconds: float, warmup_s: float, seed: int, engine: Engine, twin: str | None
    ) -> None:
        if not scenario.kpis:
            raise InputError(f"{scenario.name}: kpis: must name a latency for a precision of it, got none; add e2e")
        self.warmup_s = warmup_s
        self._scenario, self._seconds, self._seed, self._engine, self._twin = scenario, seconds, seed, engine, twin
        self.first = self._play(0)
        self._lines = [_line(self.first), *(_line(self._play(number)) for number in range(1, PILOTS))]
        self.saturated = saturated_hops(_run(self.first)) if _saturated(scenario, self._lines) else {}

    def transient_s(self) -> float:
        """Returns for how long the pilots' windows still show how their runs began, s."""
        return _transient_s(self._scenario, self._lines)

    def cut(self, more_s: float) -> None:
        """Cuts so much more off each replication; the pilots are replications as they are when that is nothing."""
        if more_s > 0.0:
            self.warmup_s += more_s
            self.first = self._play(0)
            self._lines = [_line(self.first)]

    def sample(self, number: int) -> dict[str, NDArray[np.float64]]:
        """Returns the latencies of a replication's events by KPI, s."""
        line = self._lines[number] if number < len(self._lines) else _line(self._play(number))
        return {name: line.span(span.start, span.end) for name, span in self._scenario.kpis.items()}

    def _play(self, number: int) -> tuple[Tables, Manifest]:
        return simulate(
            self._scenario,
            seconds=self._seconds,
            warmup_s=self.warmup_s,
            seed=self._seed + number,
            engine=self._engine,
            twin=self._twin,
        )


def simulate_until(
    scenario: Scenario,
    *,
    relative: float,
    seconds: float,
    warmup_s: float,
    seed: int,
    most: int,
    engine: Engine = "compiled",
    twin: str | None = None,
    tell: Callable[[int, float], None] | None = None,
) -> Replicated:
    """Simulates with the seeds `seed`, `seed + 1`, … until every latency quantile's half-width is at most `relative` of it.

    The warm-up is found first: MSER-5 on the mean end-to-end time by tenths of a second, averaged over a few replications as
    Welch does (Law, Simulation Modeling and Analysis, 9.5.1).

    Args:
        scenario: What to run; its `kpis` are the latencies.
        relative: For example 0.02.
        seconds: Length of each replication's window.
        warmup_s: Load before it, at least.
        seed: Of the first replication.
        most: Replications after which it gives up.
        engine: Which engine plays it.
        twin: Hash of the twin file that the scenario's numbers come from.
        tell: Gets, after each replication, their number and the largest relative half-width.

    Raises:
        InputError: the scenario has no latency KPI, a length is not positive, or there is no such engine.
    """
    runs = Replications(scenario, seconds=seconds, warmup_s=warmup_s, seed=seed, engine=engine, twin=twin)
    if runs.saturated:  # no number of replications makes such quantiles precise
        return Replicated({}, 1, False, warmup_s, runs.first, runs.saturated)
    runs.cut(runs.transient_s())
    found = until_half_width(runs.sample, tuple(QUANTILES.values()), relative=relative, most=most, tell=tell)
    labels = {q: label for label, q in QUANTILES.items()}
    intervals = {f"{name}_{labels[q]}_s": interval for (name, q), interval in found.intervals.items()}
    return Replicated(intervals, found.replications, found.reached, runs.warmup_s, runs.first)


def _line(run: tuple[Tables, Manifest]) -> Timeline:
    return timeline(_run(run))


def _run(run: tuple[Tables, Manifest]) -> Run:
    tables, manifest = run
    return Run(Path(), manifest, tables)


def _saturated(scenario: Scenario, pilots: list[Timeline]) -> bool:
    """Tells whether one of the latencies belongs to a backlog that grows in every pilot."""
    ends = {span.end for span in scenario.kpis.values()}
    return any(all(saturated(backlog_growth(line, end), line) for line in pilots) for end in ends)


def _transient_s(scenario: Scenario, pilots: list[Timeline]) -> float:
    """Returns for how long the windows of the pilots still show how their runs began, s."""
    start, end = end_to_end(scenario)
    edges = np.arange(*pilots[0].window_s, TICK_S)
    means = []
    for line in pilots:
        places = np.searchsorted(edges, line.intended_s, side="right") - 1
        times = np.nan_to_num(line.span(start, end), nan=0.0)
        counts = np.bincount(places, minlength=len(edges))
        means.append(np.bincount(places, weights=times, minlength=len(edges)) / np.maximum(counts, 1))
    return warmup_cut(np.mean(means, axis=0)) * TICK_S

"""The training runs, simulated again and again: one plan per run, redrawn only where a fit changed what is drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sentra_sim.engine import Plan, prepare, run
from sentra_sim.kpi import Timeline, window_of
from sentra_sim.records import Manifest
from sentra_sim.scenario import Scenario, hop_edges
from sentra_sim.twin.observe import Counts, Floats, count_jobs, end_to_end_quantiles, hop_quantiles


@dataclass(frozen=True)
class Simulated:
    """A simulated run, reduced like an `Observation`."""

    hops: dict[str, Floats]
    counts: Counts
    line: Timeline
    scenario: Scenario

    @property
    def end_to_end(self) -> Floats:
        """Quantiles over events; not kept, for of the many simulations of a fit only a few are asked."""
        return end_to_end_quantiles(self.line, self.scenario)


class Replay:
    """Simulates the load of a measured run, with the run's own seed, under changing parameters."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._plan: Plan | None = None

    def __call__(self, scenario: Scenario) -> Simulated:
        """Returns what the fit compares of the simulated run's window."""
        manifest = self._manifest
        seconds = manifest.warmup_s + manifest.seconds
        self._plan = prepare(scenario, seconds=seconds, seed=manifest.seed, like=self._plan)
        trace = run(self._plan)
        edges = hop_edges(scenario)
        hops = {edge.hop: np.ascontiguousarray(trace.hops_s[:, number]) for number, edge in enumerate(edges)}
        # An event that no frame took before the end of the run has no hops at all.
        taken = trace.frame >= 0
        window_s = (manifest.warmup_s, seconds)
        line = window_of(self._plan.offered.intended_s[taken], trace.frame[taken], hops, window_s)
        return Simulated(
            hops=hop_quantiles(line, scenario),
            counts=count_jobs(line, scenario, trace.poll, trace.partition),
            line=line,
            scenario=scenario,
        )

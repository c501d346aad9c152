"""The training runs, simulated again and again: one plan per run, redrawn only where a fit changed what is drawn."""

from __future__ import annotations

import numpy as np

from sentra_sim.engine import Plan, prepare, run
from sentra_sim.kpi import Timeline, window_of
from sentra_sim.records import Manifest
from sentra_sim.scenario import Scenario, hop_edges


class Replay:
    """Simulates the load of a measured run, with the run's own seed, under changing parameters."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._plan: Plan | None = None

    def __call__(self, scenario: Scenario) -> Timeline:
        """Returns the window of the simulated run."""
        manifest = self._manifest
        seconds = manifest.warmup_s + manifest.seconds
        self._plan = prepare(scenario, seconds=seconds, seed=manifest.seed, like=self._plan)
        trace = run(self._plan)
        hops = {
            edge.hop: np.ascontiguousarray(trace.hops_s[:, number]) for number, edge in enumerate(hop_edges(scenario))
        }
        # An event that no frame took before the end of the run has no hops at all.
        taken = trace.frame >= 0
        return window_of(self._plan.offered.intended_s[taken], trace.frame[taken], hops, (manifest.warmup_s, seconds))

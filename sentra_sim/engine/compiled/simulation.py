"""A run of the compiled engine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sentra_sim.engine.changes import Change, check_change
from sentra_sim.engine.compiled.loop import begin, finish, play_until
from sentra_sim.engine.compiled.sinks import StatisticsSink
from sentra_sim.engine.compiled.supply import Supply
from sentra_sim.engine.compiled.tables import Tables, build_tables
from sentra_sim.engine.plan import Plan
from sentra_sim.engine.statistics import Statistics
from sentra_sim.engine.trace import Trace, host_busy, used_seconds


class CompiledSimulation:
    """See `changes.Simulation`.

    The first one of a process loads the compiled code from Numba's cache or compiles it, which takes some seconds.
    """

    def __init__(self, plan: Plan, sink: StatisticsSink | None = None) -> None:
        self.plan = plan
        self.sink = sink
        self.tables: Tables = build_tables(plan)
        self.supply = Supply(plan, self.tables, sink)
        self.begun = False  # changes at the very start come before everything, as they do in SimPy

    @property
    def now_s(self) -> float:
        """The simulated time, s."""
        return float(self.tables.state["now"][0])

    def advance(self, to_s: float) -> None:
        """Plays all events before `to_s`."""
        if to_s > 0.0 and not self.begun:
            begin(self.tables.state)
            self.begun = True
        play_until(self.tables.state, min(to_s, self.plan.cap_s))
        self.supply.check()

    def apply(self, change: Change) -> None:
        """Makes a change now."""
        check_change(self.plan.scenario, change)
        _apply(self.tables, change)

    def trace(self) -> Trace:
        """Plays to the end."""
        self.advance(self.plan.cap_s)
        finish(self.tables.state)
        self.supply.draw_all()
        return _trace(self.plan, self.tables)

    def statistics(self) -> Statistics:
        """Plays to the end and returns what the sink has counted."""
        sink = self.sink
        if sink is None:
            raise ValueError("sink: must be a StatisticsSink, got None; start the simulation with one")
        self.advance(self.plan.cap_s)
        finish(self.tables.state)
        self.supply.close(sink)
        cpu = _cpu(self.plan, self.tables)
        return Statistics(
            window_s=sink.window_s,
            spans=sink.histograms(),
            offered=sink.offered,
            taken=int(sink.counts[0]),
            delivered=int(sink.counts[1]),
            frames=int(self.tables.state["frames"][0]),
            polls=int(self.tables.state["polls"][0]),
            frame_hops=int(sink.counts[2]),
            cpu_s=cpu,
            host_busy_s=host_busy(self.plan.scenario, cpu),
        )


def _apply(tables: Tables, change: Change) -> None:
    if change.operation == "demand":
        tables.arrays["works"]["factor"][tables.works_of[change.subject]] = change.value


def _cpu(plan: Plan, tables: Tables) -> NDArray[np.float64]:
    return np.array(tables.arrays["cpu"][:, : used_seconds(tables.arrays["cpu"], plan.seconds)])


def _trace(plan: Plan, tables: Tables) -> Trace:
    count = int(tables.state["frames"][0])
    frames = tables.arrays["frame_table"][:count]
    cpu = _cpu(plan, tables)
    return Trace(
        partition=frames["partition"].astype(np.int16),
        events=frames["events"].astype(np.int32),
        poll=frames["poll"].copy(),
        hops_s=tables.arrays["hops"][:count].copy(),
        frame=tables.arrays["event_frame"][: int(tables.state["event_count"][0])],
        cpu_s=cpu,
        host_busy_s=host_busy(plan.scenario, cpu),
    )

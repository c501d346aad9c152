"""A run of the compiled engine."""

from __future__ import annotations

import numpy as np

from sentra_sim.engine.changes import Change, check_change
from sentra_sim.engine.compiled.loop import FULL, OUT_OF_BOUNDS, begin, finish, play_until
from sentra_sim.engine.compiled.tables import Tables, build_tables
from sentra_sim.engine.plan import Plan
from sentra_sim.engine.trace import Trace, host_busy, used_seconds

FIRST_ROOM = 1024


class CompiledSimulation:
    """See `changes.Simulation`.

    The first one of a process loads the compiled code from Numba's cache or compiles it, which takes some seconds.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.room = FIRST_ROOM
        self.history: list[Change | float] = []  # what it went through: changes, and the times advanced to
        self._start()

    @property
    def now_s(self) -> float:
        """The simulated time, s."""
        return float(self.tables.state["now"][0])

    def advance(self, to_s: float) -> None:
        """Plays all events before `to_s`."""
        self._go(min(to_s, self.plan.cap_s))

    def apply(self, change: Change) -> None:
        """Makes a change now."""
        check_change(self.plan.scenario, change)
        self._go(change)

    def trace(self) -> Trace:
        """Plays to the end."""
        self.advance(self.plan.cap_s)
        finish(self.tables.state)
        return _trace(self.plan, self.tables)

    def _go(self, step: Change | float) -> None:
        self.history.append(step)
        if self._step(step):
            return
        # More events or queued jobs at one time than there was room for: the same again with more.
        while True:
            self.room *= 8
            self._start()
            if all(self._step(earlier) for earlier in self.history):
                return

    def _start(self) -> None:
        self.tables: Tables = build_tables(self.plan, self.room)
        self.begun = False  # changes at the very start come before everything, as they do in SimPy

    def _step(self, step: Change | float) -> bool:
        if isinstance(step, Change):
            _apply(self.tables, step)
            return True
        if step > 0.0 and not self.begun:
            begin(self.tables.state)
            self.begun = True
        status = play_until(self.tables.state, step)
        assert status != OUT_OF_BOUNDS, "more frames than the plan allows for"
        return bool(status != FULL)


def _apply(tables: Tables, change: Change) -> None:
    if change.operation == "demand":
        tables.arrays["works"]["factor"][tables.works_of[change.subject]] = change.value


def _trace(plan: Plan, tables: Tables) -> Trace:
    count = int(tables.state["frames"][0])
    frames = tables.arrays["frame_table"][:count]
    cpu = tables.arrays["cpu"][:, : used_seconds(tables.arrays["cpu"], plan.seconds)].copy()
    return Trace(
        partition=frames["partition"].astype(np.int16),
        events=frames["events"].astype(np.int32),
        poll=frames["poll"].copy(),
        hops_s=tables.arrays["hops"][:count],
        frame=tables.arrays["event_frame"],
        cpu_s=cpu,
        host_busy_s=host_busy(plan.scenario, cpu),
    )

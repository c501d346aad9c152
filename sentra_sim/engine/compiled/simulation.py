"""A run of the compiled engine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sentra_sim.engine.change_checks import check_change
from sentra_sim.engine.changes import Change
from sentra_sim.engine.compiled.changes import apply_change
from sentra_sim.engine.compiled.loop import FULL, OUT_OF_BOUNDS, arm, begin, finish, play_until
from sentra_sim.engine.compiled.tables import Tables, build_tables
from sentra_sim.engine.compiled.tracking import tracked
from sentra_sim.engine.plan import Plan
from sentra_sim.engine.tallies import tallies_of
from sentra_sim.engine.trace import Rows, Trace, View, clip_attempts, host_busy, settle, used_seconds
from sentra_sim.scenario import processes

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

    @property
    def lag_events(self) -> int:
        """The consumer group's lag."""
        return int(self.tables.state["lag_events"][0])

    def advance(self, to_s: float) -> None:
        """Plays all events before `to_s`."""
        now_s = self.now_s
        self._go(
            now_s + (float(min(to_s, self.plan.cap_s)) - now_s)
        )  # rounded as SimPy does, which stops after a delay

    def apply(self, change: Change) -> None:
        """Makes a change now."""
        check_change(self.plan.scenario, change)
        self._go(change)

    def view(self) -> View:
        """Returns what can be read now."""
        arrays = self.tables.arrays
        count, taken = int(self.tables.state["frames"][0]), arrays["event_frame"]
        cpu_s = arrays["cpu"][: len(processes(self.plan.scenario))]
        return View(self.now_s, count, self._rows, lambda events: np.asarray(taken[events]), cpu_s)

    def _rows(self, numbers: NDArray[np.int64]) -> Rows:
        frames = self.tables.arrays["frame_table"][numbers]
        return Rows(
            partition=frames["partition"].astype(np.int16),
            events=(frames["events"] - self._repeats(numbers, frames["events"])).astype(np.int32),
            hops_s=self.tables.arrays["hops"][numbers],
            outcome=frames["outcome"].astype(np.int8),
        )

    def _repeats(self, numbers: NDArray[np.int64], events: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns how many events of frames are repeats; of one that is not closed yet no events are shown."""
        if not tracked(self.plan):
            return np.zeros(len(numbers), np.int64)
        return np.asarray(np.minimum(self.tables.arrays["frame_repeats"][numbers], events))

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
        if len(self.tables.arrays["commands"]) > 0:
            arm(self.tables.state)
        self.begun = False  # changes at the very start come before everything, as they do in SimPy

    def _step(self, step: Change | float) -> bool:
        if isinstance(step, Change):
            apply_change(self.plan, self.tables, step)
            return bool(self.tables.state["full"][0] == 0)
        if step > 0.0 and not self.begun:
            begin(self.tables.state)
            self.begun = True
        status = play_until(self.tables.state, step)
        assert status != OUT_OF_BOUNDS, "more frames than the plan allows for"
        return bool(status != FULL)


def _trace(plan: Plan, tables: Tables) -> Trace:
    count = int(tables.state["frames"][0])
    frames = tables.arrays["frame_table"][:count]
    repeats = tables.arrays["frame_repeats"][:count] if tracked(plan) else np.zeros(count, np.int64)
    retrying = bool(tables.state["retrying"][0])
    cpu = tables.arrays["cpu"][: len(processes(plan.scenario))]
    cpu = cpu[:, : used_seconds(cpu, plan.seconds)].copy()
    hops_s = tables.arrays["hops"][:count]
    return Trace(
        partition=frames["partition"].astype(np.int16),
        events=(frames["events"] - repeats).astype(np.int32),
        poll=frames["poll"].copy(),
        hops_s=hops_s,
        frame=tables.arrays["event_frame"],
        cpu_s=cpu,
        host_busy_s=host_busy(plan.scenario, cpu),
        canary_events=_canary_events(tables, count),
        release_jobs=tables.arrays["release_jobs"][: int(tables.state["release_jobs_done"][0])].copy(),
        outcome=settle(plan.scenario, frames["outcome"].astype(np.int8), hops_s),
        attempts=clip_attempts(frames["attempts"]),
        tallies=_tallies(plan, tables),
        repeats=repeats.astype(np.int32),
        sends=tables.arrays["messages"]["sends"].astype(np.int32) if retrying else np.empty(0, np.int32),
        dead=_dead(plan, tables, count),
        poison=tables.arrays["event_poison"][: len(plan.poison)] < 0.0,
    )


def _tallies(plan: Plan, tables: Tables) -> NDArray[np.float64]:
    counted = [tables.tally_row(name)[tally] for name, names in tallies_of(plan.scenario).items() for tally in names]
    return np.array(counted, dtype=np.float64)


def _dead(plan: Plan, tables: Tables, frames: int) -> NDArray[np.int32]:
    if not len(plan.poison):
        return np.zeros(frames, dtype=np.int32)
    return tables.arrays["frame_poison"]["dead"][:frames].astype(np.int32)


def _canary_events(tables: Tables, frames: int) -> NDArray[np.int32]:
    if not tables.state["by_key"][0]:
        return np.zeros(frames, dtype=np.int32)
    return tables.arrays["marks"]["canary_events"][:frames].astype(np.int32)

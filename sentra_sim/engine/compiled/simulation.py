"""A run of the compiled engine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sentra_sim.engine.apart import stations_apart
from sentra_sim.engine.change_checks import check_change
from sentra_sim.engine.changes import Change
from sentra_sim.engine.compiled.apart import play_apart
from sentra_sim.engine.compiled.changes import apply_change
from sentra_sim.engine.compiled.loop import arm, begin, finish, play_until
from sentra_sim.engine.compiled.sinks import (
    DELIVERED,
    EVENTS_DLQ,
    EVENTS_LOST,
    EVENTS_SHED,
    EVENTS_TAKEN,
    FRAME_HOPS,
    StatisticsSink,
)
from sentra_sim.engine.compiled.supply import Supply
from sentra_sim.engine.compiled.tables import Tables, build_tables
from sentra_sim.engine.facts import is_tracked
from sentra_sim.engine.plan import Plan
from sentra_sim.engine.statistics import Statistics
from sentra_sim.engine.tallies import tallies_of
from sentra_sim.engine.trace import NOT_TAKEN, Rows, Trace, View, clip_attempts, host_busy, settle, used_seconds
from sentra_sim.scenario import processes


class CompiledSimulation:
    """See `changes.Simulation`.

    The first one of a process loads the compiled code from Numba's cache or compiles it, which takes some seconds. `unchanged`: nothing
    will be applied, so that stations which depend on nothing but what comes to them can be played apart, with the same results.
    """

    def __init__(self, plan: Plan, sink: StatisticsSink | None = None, *, unchanged: bool = False) -> None:
        self.plan = plan
        self.sink = sink
        self.unchanged = unchanged
        self.tables: Tables = build_tables(plan, apart=stations_apart(plan.scenario) if unchanged else {})
        self.supply = Supply(plan, self.tables, sink)
        if len(self.tables.arrays["commands"]) > 0:
            arm(self.tables.state)
        self.begun = False  # changes at the very start come before everything, as they do in SimPy

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
        end_s = now_s + (float(min(to_s, self.plan.cap_s)) - now_s)  # rounded as SimPy does, which stops after a delay
        if end_s > 0.0 and not self.begun:
            begin(self.tables.state)
            self.begun = True
        play_until(self.tables.state, end_s)
        self.supply.check()

    def apply(self, change: Change) -> None:
        """Makes a change now."""
        if self.unchanged:
            raise ValueError(
                f"apply: must not be called of a simulation that is not to be changed, got {change}; start one that is"
            )
        check_change(self.plan.scenario, change)
        apply_change(self.plan, self.tables, change)
        self.supply.check()

    def view(self) -> View:
        """Returns what can be read now. With a sink: frames that have ended since the look before, if there was one."""
        play_apart(self.tables.state)
        self.supply.look()
        cpu_s = self.tables.arrays["cpu"][: len(processes(self.plan.scenario))]
        return View(self.now_s, int(self.tables.state["frames"][0]), self._rows, self._frames_of, cpu_s)

    def _rows(self, numbers: NDArray[np.int64]) -> Rows:
        arrays, places = self.tables.arrays, numbers - self.supply.frames.first
        frames = arrays["frame_table"][places]
        return Rows(
            partition=frames["partition"].astype(np.int16),
            events=(frames["events"] - self._repeats(places, frames["events"])).astype(np.int32),
            hops_s=arrays["hops"][places],
            outcome=frames["outcome"].astype(np.int8),
        )

    def _repeats(self, places: NDArray[np.int64], events: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns how many events of frames are repeats; of one that is not closed yet no events are shown."""
        if not is_tracked(self.plan.scenario):
            return np.zeros(len(places), np.int64)
        return np.asarray(np.minimum(self.tables.arrays["frame_repeats"][places], events))

    def _frames_of(self, events: NDArray[np.int64]) -> NDArray[np.int64]:
        found = np.full(len(events), NOT_TAKEN, dtype=np.int64)
        drawn = events < self.tables.state["event_count"][0]
        found[drawn] = self.tables.arrays["event_frame"][events[drawn] - self.supply.events.first]
        return found

    def trace(self) -> Trace:
        """Plays to the end."""
        if self.sink is not None:
            raise ValueError("sink: must be None for a trace, got one; start the simulation without")
        self._play_out()
        self.supply.draw_all()
        return _trace(self.plan, self.tables)

    def statistics(self) -> Statistics:
        """Plays to the end and returns what the sink has counted."""
        sink = self.sink
        if sink is None:
            raise ValueError("sink: must be a StatisticsSink, got None; start the simulation with one")
        self._play_out()
        self.supply.close(sink)
        cpu_s = _cpu(self.plan, self.tables)
        counts: list[int] = sink.counts.tolist()
        return Statistics(
            window_s=sink.window_s,
            spans=sink.histograms(),
            offered=sink.offered,
            taken=counts[EVENTS_TAKEN],
            delivered=counts[DELIVERED],
            shed=counts[EVENTS_SHED],
            dlq=counts[EVENTS_DLQ],
            lost=counts[EVENTS_LOST],
            frames=int(self.tables.state["frames"][0]),
            polls=int(self.tables.state["polls"][0]),
            frame_hops=counts[FRAME_HOPS],
            cpu_s=cpu_s,
            host_busy_s=host_busy(self.plan.scenario, cpu_s),
        )

    def _play_out(self) -> None:
        self.advance(self.plan.cap_s)
        finish(self.tables.state)


def _cpu(plan: Plan, tables: Tables) -> NDArray[np.float64]:
    cpu_s = tables.arrays["cpu"][: len(processes(plan.scenario))]
    return cpu_s[:, : used_seconds(cpu_s, plan.seconds)].copy()


def _trace(plan: Plan, tables: Tables) -> Trace:
    state, arrays = tables.state, tables.arrays
    count = int(state["frames"][0])
    frames, hops_s = arrays["frame_table"][:count], arrays["hops"][:count].copy()
    repeats = arrays["frame_repeats"][:count] if is_tracked(plan.scenario) else np.zeros(count, np.int64)
    cpu_s = _cpu(plan, tables)
    return Trace(
        partition=frames["partition"].astype(np.int16),
        events=(frames["events"] - repeats).astype(np.int32),
        poll=frames["poll"].copy(),
        hops_s=hops_s,
        frame=arrays["event_frame"][: int(state["event_count"][0])],
        cpu_s=cpu_s,
        host_busy_s=host_busy(plan.scenario, cpu_s),
        canary_events=_canary_events(tables, count),
        release_jobs=arrays["release_jobs"][: int(state["release_jobs_done"][0])].copy(),
        outcome=settle(plan.scenario, frames["outcome"].astype(np.int8), hops_s),
        attempts=clip_attempts(frames["attempts"]),
        tallies=_tallies(plan, tables),
        repeats=repeats.astype(np.int32),
        sends=arrays["messages"]["sends"].astype(np.int32) if state["retrying"][0] else np.empty(0, np.int32),
        dead=arrays["frame_poison"]["dead"][:count].astype(np.int32)
        if state["poisonous"][0]
        else np.zeros(count, np.int32),
        poison=arrays["event_poison"] < 0.0 if state["poisonous"][0] else np.zeros(0, dtype=np.bool_),
    )


def _tallies(plan: Plan, tables: Tables) -> NDArray[np.float64]:
    counted = [tables.tally_row(name)[tally] for name, names in tallies_of(plan.scenario).items() for tally in names]
    return np.array(counted, dtype=np.float64)


def _canary_events(tables: Tables, frames: int) -> NDArray[np.int32]:
    if not tables.state["by_key"][0]:
        return np.zeros(frames, dtype=np.int32)
    return tables.arrays["marks"]["canary_events"][:frames].astype(np.int32)

"""Scenario in, run out: the record contract written by a simulation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sentra_sim.engine.changes import Change, Simulation, play, play_changes
from sentra_sim.engine.compiled import CompiledSimulation
from sentra_sim.engine.compiled.sinks import StatisticsSink
from sentra_sim.engine.parted import part
from sentra_sim.engine.plan import Plan, prepare
from sentra_sim.engine.reference import ReferenceSimulation
from sentra_sim.engine.releasemetrics import release_metrics
from sentra_sim.engine.statistics import Statistics
from sentra_sim.engine.tallies import tally_names
from sentra_sim.engine.trace import DLQ, DUPLICATE, EVENT_SHED, LOST, OK, OPEN, OUTCOME_NAMES, SHED, Trace
from sentra_sim.errors import InputError
from sentra_sim.kpi import final_hop
from sentra_sim.records import (
    EVENT_COLUMNS,
    CpuSeries,
    Manifest,
    Tables,
    describe_machine,
    frame_schema,
    hop_column,
    metrics_table,
    versions,
)
from sentra_sim.scenario import Log, Scenario, Source, hop_edges, only, processes, scenario_data, scenario_hash
from sentra_sim.units import NS_PER_S

Engine = Literal["compiled", "reference"]
ENGINES: tuple[Engine, ...] = ("compiled", "reference")


def start(plan: Plan, *, engine: Engine = "compiled", unchanged: bool = False) -> Simulation:
    """Starts a simulation of a plan, to be advanced step by step.

    Args:
        plan: what to play.
        engine: which engine plays it.
        unchanged: no change will be applied; the compiled engine may be faster then.

    Raises:
        InputError: there is no such engine.
    """
    if engine not in ENGINES:
        raise InputError(f"engine: must be one of {', '.join(ENGINES)}, got {engine!r}; write one of them")
    return CompiledSimulation(plan, unchanged=unchanged) if engine == "compiled" else ReferenceSimulation(plan)


def run(plan: Plan, *, engine: Engine = "compiled", changes: Sequence[Change] = ()) -> Trace:
    """Plays a plan to its end, with a timetable of changes.

    Raises:
        InputError: there is no such engine, or a change is of something that the scenario does not have.
    """
    return play(start(plan, engine=engine, unchanged=not changes), changes)


def run_statistics(
    plan: Plan, *, window_s: tuple[float, float] | None = None, changes: Sequence[Change] = ()
) -> Statistics:
    """Plays a plan on the compiled engine and keeps statistics only: with `prepare(keep=False)` in memory that no length grows.

    Args:
        plan: what to play.
        window_s: events intended in it are counted; all of the load unless given.
        changes: a timetable.

    Raises:
        InputError: a change is of something that the scenario does not have.
    """
    sink = StatisticsSink(plan, window_s or (0.0, plan.seconds), final_hop(plan.scenario))
    simulation = CompiledSimulation(plan, sink, unchanged=not changes)
    play_changes(simulation, changes)
    return simulation.statistics()


def simulate(
    scenario: Scenario,
    *,
    seconds: float,
    warmup_s: float,
    seed: int,
    engine: Engine = "compiled",
    twin: str | None = None,
    control: Callable[[Simulation, Plan], object] | None = None,
) -> tuple[Tables, Manifest]:
    """Simulates a run and returns it in the record contract, as `sentra measure` would record it.

    Args:
        scenario: what to run, at the rate of its load.
        seconds: length of the window that KPIs are computed of.
        warmup_s: load before that window.
        seed: one seed for all random streams.
        engine: which engine plays it; both give the same run.
        twin: hash of the twin file that the scenario's numbers come from.
        control: advances and changes the simulation as it likes before it is played to its end.

    Raises:
        InputError: a length is not positive or not finite, or there is no such engine.

    Example:
        >>> from sentra_sim.scenario import load_scenario
        >>> scenario = load_scenario("data/scenarios/sentra.yaml")
        >>> tables, manifest = simulate(scenario, seconds=10, warmup_s=2, seed=1)  # doctest: +SKIP
    """
    _check_lengths(seconds, warmup_s)
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    plan = prepare(scenario, seconds=warmup_s + seconds, seed=seed)
    simulation = start(plan, engine=engine, unchanged=control is None)
    if control is not None:
        control(simulation, plan)
    trace = part(plan, simulation.trace())
    frames = _frames_table(plan, trace)
    cpu = CpuSeries(processes(scenario), trace.cpu_s)
    metrics = [metrics_table(frames, scenario, cpu), *release_metrics(trace.release_jobs, trace.cpu_s.shape[1])]
    tables = Tables(frames, _events_table(plan, trace), pl.concat(metrics))
    in_window = (plan.offered.intended_s >= warmup_s) & (plan.offered.intended_s < warmup_s + seconds)
    manifest = Manifest(
        source="simulated",
        scenario=scenario_data(scenario),
        scenario_hash=scenario_hash(scenario),
        seed=seed,
        rate_eps=scenario.load.rate_eps,
        warmup_s=warmup_s,
        seconds=seconds,
        started_at=started_at,
        versions=versions(),
        machine=describe_machine(),
        engine=engine,
        twin=twin,
        offered_events=int(in_window.sum()),
        counters=_counters(plan, trace),
    )
    return tables, manifest


def _check_lengths(seconds: float, warmup_s: float) -> None:
    if not (np.isfinite(seconds) and seconds > 0):
        raise InputError(f"simulate: seconds must be > 0, got {seconds}; write how long to simulate after the warm-up")
    if not (np.isfinite(warmup_s) and warmup_s >= 0):
        raise InputError(f"simulate: warmup_s must be >= 0, got {warmup_s}; write 0 for no warm-up")


def _reached(plan: Plan, trace: Trace, hop: str) -> NDArray[np.bool_]:
    """Tells which frames came to a hop, shape (frames,)."""
    hops = [edge.hop for edge in hop_edges(plan.scenario)]
    return np.asarray(np.isfinite(trace.hops_s[:, hops.index(hop)]))


def _frames_table(plan: Plan, trace: Trace) -> pl.DataFrame:
    scenario, count = plan.scenario, len(trace.events)
    hops = tuple(edge.hop for edge in hop_edges(scenario))
    tenant = 0 if scenario.load.tenants == 1 else None
    columns: dict[str, pl.Series] = {
        "frame": pl.Series(np.arange(count)),
        "partition": pl.Series(trace.partition),
        "tenant": pl.repeat(tenant, count, dtype=pl.Int32, eager=True),
        # As a recorded run has it: a frame that a canary worked on for the most part is the canary's.
        "release": pl.Series(
            np.where(2 * trace.canary_events > trace.events, "canary", "stable").tolist(), dtype=pl.String
        ),
        "events": pl.Series(trace.events),
        "outcome": _outcomes(trace),
        "attempts": pl.Series(trace.attempts),
        "poll": pl.Series(trace.poll).replace(-1, None),
    }
    for number, hop in enumerate(hops):
        columns[hop_column(hop)] = _nanoseconds(trace.hops_s[:, number])
    return pl.DataFrame(columns).cast(frame_schema(hops))  # type: ignore[arg-type]


def _outcomes(trace: Trace) -> pl.Series:
    """Names how frames ended; one that the end of the run found under way counts as lost."""
    ended = np.where(trace.outcome == OPEN, LOST, trace.outcome)
    return pl.Series(np.array(OUTCOME_NAMES)[ended].tolist(), dtype=pl.String)


def _nanoseconds(times_s: NDArray[np.float64]) -> pl.Series:
    """Rounds times to whole nanoseconds; NaN, a hop that was not reached, becomes null."""
    reached = np.isfinite(times_s)
    rounded = np.rint(np.where(reached, times_s, 0.0) * NS_PER_S).astype(np.int64)
    return pl.DataFrame({"ns": rounded, "reached": reached}).select(
        pl.when(pl.col("reached")).then(pl.col("ns")).otherwise(None)
    )["ns"]


def _events_table(plan: Plan, trace: Trace) -> pl.DataFrame:
    """Lists the events that a frame took, by frame, then in order of intended sending."""
    order = np.argsort(trace.frame, kind="stable")
    order = order[trace.frame[order] >= 0]
    frame = trace.frame[order]
    received = np.rint(trace.hops_s[:, 0] * NS_PER_S).astype(np.int64)
    intended = np.rint(plan.offered.intended_s[order] * NS_PER_S).astype(np.int64)
    return pl.DataFrame({"frame": frame, "intended_offset_ns": intended - received[frame]}, schema=EVENT_COLUMNS)


def _counters(plan: Plan, trace: Trace) -> dict[str, int]:
    acked = _reached(plan, trace, only(plan.scenario, Log)[1].hop)
    reached = _reached(plan, trace, final_hop(plan.scenario))
    delivered = int(trace.events[reached & np.isin(trace.outcome, (OK, DUPLICATE))].sum())
    refused = int((trace.frame == EVENT_SHED).sum())
    shed, dlq = (int(trace.events[trace.outcome == ended].sum()) for ended in (SHED, DLQ))
    return {
        "offered": len(trace.frame),
        "received": int((trace.frame >= 0).sum()),
        "acked": int(trace.events[acked].sum()),
        "delivered": delivered,
        "shed": refused + shed,
        "dlq": dlq,
        "lost": len(trace.frame) - delivered - refused - shed - dlq,
        "acked_lost": int(trace.events[acked & (trace.outcome == LOST)].sum()),
        **{name: round(value) for name, value in zip(tally_names(plan.scenario), trace.tallies.tolist(), strict=True)},
        **_of_clients(plan, trace),
    }


def _of_clients(plan: Plan, trace: Trace) -> dict[str, int]:
    """Counts what impatient clients bring: events sent again, and taken again."""
    if not only(plan.scenario, Source)[1].retry:
        return {}
    return {
        "resent": int((np.diff(plan.first_event) * np.maximum(trace.sends - 1, 0)).sum()),
        "repeats": int(trace.repeats.sum()),
    }

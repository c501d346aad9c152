"""A run seen lane by lane: what each class of service got."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from sentra_sim.kpi.compute import Kpi, kpis
from sentra_sim.records import CpuSeries, Run, Tables, metrics_table
from sentra_sim.scenario import Log, only
from sentra_sim.scenario.arrivals import draw_offered
from sentra_sim.scenario.lanes import lanes_of_partitions, route

OF_THE_WHOLE = ("cpu_cores", "cpu_us_per_event", "cost_per_hour", "cost_per_million_events")


@dataclass(frozen=True)
class LaneKpis:
    """The KPIs of one lane of the log: of its events in the run's window, each against the scenario's SLO; none of CPU and cost."""

    lane: str
    kpis: tuple[Kpi, ...]


def lane_kpis(run: Run) -> tuple[LaneKpis, ...]:
    """Computes the KPIs of every lane of a run; nothing of a run without lanes."""
    return tuple(
        LaneKpis(lane, tuple(kpi for kpi in kpis(view) if kpi.name not in OF_THE_WHOLE))
        for lane, view in lane_runs(run)
    )


def lane_runs(run: Run) -> Iterator[tuple[str, Run]]:
    """Yields each lane's name and the run as if it had held that lane alone."""
    scenario, manifest = run.manifest.load_scenario(), run.manifest
    log = only(scenario, Log)[1]
    if not log.lanes:
        return
    lanes = np.array(lanes_of_partitions(log))
    of_frame = lanes[run.tables.frames["partition"].to_numpy()]
    of_event = np.repeat(of_frame, run.tables.frames["events"].to_numpy())
    offered = draw_offered(scenario.load, manifest.warmup_s + manifest.seconds, manifest.seed)
    of_offered = lanes[route(offered.keys, log, scenario.load.tenants)[offered.intended_s >= manifest.warmup_s]]
    counts = np.bincount(of_offered, minlength=len(log.lanes)).tolist()
    seconds = round(float(run.tables.metrics["time_s"].max() or 0.0))  # type: ignore[arg-type]
    for number, lane in enumerate(log.lanes):
        frames = run.tables.frames.filter(of_frame == number)
        metrics = metrics_table(frames, scenario, CpuSeries((), np.zeros((0, seconds))))
        tables = Tables(frames, run.tables.events.filter(of_event == number), metrics)
        update = {"offered_events": counts[number], "rate_eps": counts[number] / manifest.seconds}
        yield lane.name, replace(run, manifest=manifest.model_copy(update=update), tables=tables)

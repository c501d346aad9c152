"""KPIs of a run against its SLO; one implementation for simulated and measured runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sentra_sim.kpi.saturation import backlog_growth, saturated
from sentra_sim.kpi.spending import budget_per_day, cost_per_hour, cost_per_million
from sentra_sim.kpi.timeline import Timeline, timeline
from sentra_sim.records import Run, hop_column
from sentra_sim.scenario import INTENDED, ConsumerGroup, Log, Scenario, hop_edges, only
from sentra_sim.scenario.arrivals import step_edges
from sentra_sim.stats import SECTIONS, Interval, mean_interval, quantile_interval
from sentra_sim.units import NS_PER_S

QUANTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
LAG = "kafka_consumergroup_lag_events"
SATURATED = "saturated"


@dataclass(frozen=True)
class Kpi:
    """One KPI of a run. `value` is None where the run holds no data for it; low and high bound a 95 % interval or are None.

    `unit` is one of s, events/s, events, fraction, cores, µs/event, fraction/day, price/h, price. `verdict` is ok, breach,
    nodata, or `-` without a bound; of a throughput also `not offered`, and `by step` when the window holds several rates;
    of a latency also `saturated`, which misses any bound: the events that are not yet at its last hop grow in number, so there is
    no quantile that a longer run would not exceed. `backlog_growth_eps` says how fast, by the hop that counts as delivered.
    """

    name: str
    unit: str
    value: float | None
    low: float | None = None
    high: float | None = None
    bound: str = ""
    verdict: str = "-"


def kpis(run: Run) -> tuple[Kpi, ...]:
    """Computes every KPI of a run, those of its scenario's spans first, each against the scenario's SLO."""
    scenario = run.manifest.load_scenario()
    line = timeline(run)
    growth = backlog_growth(line, final_hop(scenario))
    found = [
        *_latencies(line, scenario),
        *_flow(run, line, scenario),
        _with("backlog_growth_eps", "events/s", growth) if growth else Kpi("backlog_growth_eps", "events/s", None),
        *_lag(run),
        *_cpu(run),
    ]
    found += _spent(line, scenario, run, {kpi.name: kpi.value for kpi in found})
    return tuple(_judge(kpi, scenario, run) for kpi in found)


def breaches(found: tuple[Kpi, ...]) -> tuple[Kpi, ...]:
    """Returns the KPIs that miss their bound; one without data cannot hold its bound, so it counts as a miss."""
    return tuple(kpi for kpi in found if kpi.verdict in ("breach", "nodata") or _missed_by_saturation(kpi))


def _missed_by_saturation(kpi: Kpi) -> bool:
    return kpi.verdict == SATURATED and bool(kpi.bound)


def window_metric(run: Run, name: str) -> pl.DataFrame:
    """Returns the rows of one metric whose second lies in the window: time_s, labels, value."""
    start, end = run.manifest.warmup_s, run.manifest.warmup_s + run.manifest.seconds
    inside = (pl.col("name") == name) & (pl.col("time_s") > start) & (pl.col("time_s") <= end)
    return run.tables.metrics.filter(inside).select("time_s", "labels", "value")


def final_hop(scenario: Scenario) -> str:
    """Returns the hop that counts as delivered: where the end-to-end span ends."""
    return end_to_end(scenario)[1]


def end_to_end(scenario: Scenario) -> tuple[str, str]:
    """Returns between which hops end-to-end time is counted: those of the span `e2e`, else the whole way."""
    span = scenario.kpis.get("e2e")
    return (span.start, span.end) if span else (INTENDED, hop_edges(scenario)[-1].hop)


def _latencies(line: Timeline, scenario: Scenario) -> list[Kpi]:
    found: list[Kpi] = []
    for name, span in scenario.kpis.items():
        if saturated(backlog_growth(line, span.end), line):
            found += [Kpi(f"{name}_{label}_s", "s", None, verdict=SATURATED) for label in QUANTILES]
            continue
        values = line.span(span.start, span.end)
        # An event that never arrived waits for ever: it belongs into the tail, not out of the sample.
        values[np.isnan(values)] = np.inf
        found += [_quantile(f"{name}_{label}_s", values, q) for label, q in QUANTILES.items()]
    return found


def _quantile(name: str, values: NDArray[np.float64], q: float) -> Kpi:
    if not len(values):
        return Kpi(name, "s", None)
    if len(values) < 2 * SECTIONS or not np.isfinite(values).all():
        value = float(np.quantile(values, q, method="higher"))
        return Kpi(name, "s", value if np.isfinite(value) else None)
    return _with(name, "s", quantile_interval(values, q))


def _flow(run: Run, line: Timeline, scenario: Scenario) -> list[Kpi]:
    end = final_hop(scenario)
    delivered = ~np.isnan(line.at(end))
    offered = max(run.manifest.offered_events, 1)
    bad = (run.tables.frames["outcome"] != "ok").to_numpy()
    return [
        _throughput(run, end),
        Kpi("delivered_ratio", "fraction", float(delivered.sum() / offered)),
        Kpi("error_rate", "fraction", float(bad[line.frame].mean()) if len(line.frame) else None),
    ]


def _throughput(run: Run, hop: str) -> Kpi:
    rows = window_metric(run, "sentra_hop_events").filter(pl.col("labels") == f'hop="{hop}"')
    per_second = rows["value"].to_numpy()
    if len(per_second) >= 2 * SECTIONS:
        return _with("throughput_eps", "events/s", mean_interval(per_second))
    return Kpi("throughput_eps", "events/s", float(per_second.mean()) if len(per_second) else None)


def _lag(run: Run) -> list[Kpi]:
    values = window_metric(run, LAG)["value"].to_numpy()
    known = len(values) > 0
    return [
        Kpi("lag_p95_events", "events", float(np.quantile(values, 0.95)) if known else None),
        Kpi("lag_max_events", "events", float(values.max()) if known else None),
        Kpi("lag_max_s", "s", _lag_max_s(run)),
    ]


def _lag_max_s(run: Run) -> float | None:
    """Returns the highest age, at the end of a second, of the oldest event that is acknowledged and not yet taken by a worker."""
    scenario = run.manifest.load_scenario()
    acked, started = (hop_column(hop) for hop in (only(scenario, Log)[1].hop, only(scenario, ConsumerGroup)[1].hop))
    waited = run.tables.frames.filter(pl.col("outcome") != "shed")  # what was dropped is not waited for
    frames = waited.select(acked, started).drop_nulls(acked).sort(acked)
    if not frames.height:
        return None
    begun = frames[acked].to_numpy()
    # The first frame in order of acknowledgement that is not taken by t is the first whose running maximum lies beyond t.
    taken = np.maximum.accumulate(frames[started].fill_null(np.iinfo(np.int64).max).to_numpy())
    first, last = run.manifest.warmup_s, run.manifest.warmup_s + run.manifest.seconds
    at = np.arange(np.floor(first) + 1.0, np.floor(last) + 1.0) * NS_PER_S
    oldest = np.searchsorted(taken, at, side="right")
    ages = at - np.append(begun, np.iinfo(np.int64).max)[oldest]
    return float(ages.max(initial=0.0)) / NS_PER_S


def _cpu(run: Run) -> list[Kpi]:
    cores = cpu_cores(run)
    if not cores:
        return [Kpi("cpu_cores", "cores", None), Kpi("cpu_us_per_event", "µs/event", None)]
    total = sum(cores.values())
    per_event = 1e6 * total * run.manifest.seconds / max(run.manifest.offered_events, 1)
    return [Kpi("cpu_cores", "cores", total), Kpi("cpu_us_per_event", "µs/event", per_event)]


def _spent(line: Timeline, scenario: Scenario, run: Run, known: dict[str, float | None]) -> list[Kpi]:
    bad = (run.tables.frames["outcome"] != "ok").to_numpy()[line.frame] | np.isnan(line.at(final_hop(scenario)))
    share = float(bad.mean()) if len(bad) else None
    per_million = cost_per_million(scenario, known["throughput_eps"])
    return [
        Kpi("error_budget_per_day", "fraction/day", budget_per_day(scenario, share)),
        Kpi("cost_per_hour", "price/h", cost_per_hour(scenario)),
        Kpi("cost_per_million_events", "price", per_million),
    ]


def cpu_cores(run: Run) -> dict[str, float]:
    """Returns the mean number of cores that each process kept busy in the window; empty where CPU was not recorded."""
    rows = window_metric(run, "process_cpu_seconds").group_by("labels", maintain_order=True).agg(pl.col("value").sum())
    seconds = run.manifest.seconds
    return {labels.split('"')[1]: value / seconds for labels, value in rows.iter_rows()}


def _judge(kpi: Kpi, scenario: Scenario, run: Run) -> Kpi:
    bound = scenario.slo.get(kpi.name)
    if bound is None:
        return kpi
    text = " and ".join(
        [
            *([f"<= {bound.max:g}"] if bound.max is not None else []),
            *([f">= {bound.min:g}"] if bound.min is not None else []),
        ]
    )
    if kpi.name == "throughput_eps" and bound.min is not None:
        if _covers_steps(run, scenario):
            # A mean over several rates says nothing of any of them.
            return Kpi(kpi.name, kpi.unit, kpi.value, kpi.low, kpi.high, text, "by step")
        if _offered_eps(run, scenario) < bound.min:
            # A run that offers less than the promised capacity cannot show that it is there.
            return Kpi(kpi.name, kpi.unit, kpi.value, kpi.low, kpi.high, text, "not offered")
    verdict = SATURATED if kpi.verdict == SATURATED else "nodata"
    if kpi.value is not None:
        # An open loop delivers what it is offered, give or take what is in flight at the window's edges.
        least = None if bound.min is None else bound.min * (0.995 if kpi.name == "throughput_eps" else 1.0)
        high = bound.max is not None and kpi.value > bound.max
        low = least is not None and kpi.value < least
        verdict = "breach" if high or low else "ok"
    return Kpi(kpi.name, kpi.unit, kpi.value, kpi.low, kpi.high, text, verdict)


def _covers_steps(run: Run, scenario: Scenario) -> bool:
    """Tells whether the window holds the end of a step that another follows."""
    start, end = run.manifest.warmup_s, run.manifest.warmup_s + run.manifest.seconds
    return any(start < edge < end for edge in step_edges(scenario.load, end)[1:-1])


def _offered_eps(run: Run, scenario: Scenario) -> float:
    """Returns the offered rate: of a shaped load, which the window may see any part of, what the window did offer."""
    manifest = run.manifest
    return manifest.offered_events / manifest.seconds if scenario.load.shape else manifest.rate_eps


def _with(name: str, unit: str, interval: Interval) -> Kpi:
    known = np.isfinite(interval.low)
    return Kpi(name, unit, interval.value, interval.low if known else None, interval.high if known else None)

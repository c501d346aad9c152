"""Runs → twin: direct fits per hop, the host's discipline chosen by the data, an ensemble for the uncertainty."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import numpy as np

from sentra_sim.errors import CalibrationError
from sentra_sim.records import Run, describe_machine, versions
from sentra_sim.scenario import Scenario, scenario_data
from sentra_sim.twin.delays import Predict, fit_delays, with_delays_of
from sentra_sim.twin.demands import fit_demands
from sentra_sim.twin.model import ProcessFit, TrainingRun, Twin, apply_stations, fitted_values
from sentra_sim.twin.observe import Floats, Observation, observe, run_hash
from sentra_sim.twin.simulate import Replay, Simulated

DISCIPLINES = ("fifo-slice", "ps")
Progress = Callable[[str], None]


def calibrate(runs: Sequence[Run], *, progress: Progress = lambda _: None) -> Twin:
    """Fits a twin to measured runs of one pipeline at two loads or more.

    CPU demands come from CPU accounting (`demands.py`), batching from the scenario, delays from timestamps (`delays.py`). The fit is
    repeated for every host discipline, the closer one is kept; then once without each run, for the uncertainty.

    Raises:
        CalibrationError: a run is simulated, the pipelines differ, or one load only was measured.
    """
    _check(runs)
    observations = [observe(run) for run in sorted(runs, key=lambda run: (run.manifest.rate_eps, run.name))]
    replays = {seen.run.path: Replay(seen.run.manifest) for seen in observations}

    def predicted(scenario: Scenario, seen: Observation) -> Simulated:
        return replays[seen.run.path](_as_run(scenario, seen))

    losses: dict[str, float] = {}
    fits: dict[str, tuple[Scenario, dict[str, ProcessFit]]] = {}
    for discipline in DISCIPLINES:
        progress(f"fitting under {discipline}")
        fits[discipline] = _fit(_under(observations[-1].scenario, discipline), observations, predicted)
        losses[discipline] = _loss(fits[discipline][0], observations, predicted)
    best = min(losses, key=lambda name: losses[name])
    scenario, processes = fits[best]
    members = []
    for left_out in range(len(observations)):
        rest = [*observations[:left_out], *observations[left_out + 1 :]]
        if len({seen.run.manifest.rate_eps for seen in rest}) > 1:
            progress(f"refitting without {observations[left_out].run.name}")
            members.append(fitted_values(_fit(_under(observations[-1].scenario, best), rest, predicted)[0]))
    return Twin(
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        scenario=scenario_data(scenario),
        members=tuple(members),
        discipline=best,
        losses=losses,
        processes=processes,
        repeatability=_repeatability(observations),
        training=tuple(_training(seen) for seen in observations),
        versions=versions(),
        machine=describe_machine(),
    )


def _check(runs: Sequence[Run]) -> None:
    for run in runs:
        if run.manifest.source != "measured":
            raise CalibrationError(
                f"{run.path}: must be a measured run, got a simulated one; record it with sentra measure"
            )
    loads = sorted({run.manifest.rate_eps for run in runs})
    if len(loads) < 2:
        got = f"{loads[0]:g} events/s only" if loads else "none"
        raise CalibrationError(
            f"calibrate: needs measured runs at two loads or more, got {got}; "
            "without a second load the cost per job and the cost per event cannot be told apart: measure another --rate"
        )
    stations = {
        tuple((name, station.kind) for name, station in run.manifest.load_scenario().stations.items()) for run in runs
    }
    if len(stations) > 1:
        raise CalibrationError(
            "calibrate: must get runs of one pipeline, got runs whose stations differ; calibrate each by itself"
        )


def _under(scenario: Scenario, discipline: str) -> Scenario:
    hosts = {name: host.model_copy(update={"discipline": discipline}) for name, host in scenario.hosts.items()}
    return scenario.model_copy(update={"hosts": hosts})


def _fit(
    scenario: Scenario, observations: Sequence[Observation], predict: Predict
) -> tuple[Scenario, dict[str, ProcessFit]]:
    """Demands from the measured counts of jobs, delays; then demands from the simulated counts, and the delays once more."""
    first, _ = fit_demands(scenario, observations, [seen.counts for seen in observations])
    first = fit_delays(first, observations, predict)
    fitted, processes = fit_demands(scenario, observations, [predict(first, seen).counts for seen in observations])
    return fit_delays(with_delays_of(first, fitted), observations, predict), processes


def _as_run(scenario: Scenario, seen: Observation) -> Scenario:
    """Returns the fitted values in the structure and load that the run was of: linger, batch sizes, rate."""
    return apply_stations(seen.scenario, fitted_values(scenario))


def _loss(scenario: Scenario, observations: Sequence[Observation], predict: Predict) -> float:
    """Mean Wasserstein-1 distance over runs, end to end and mean of the hops, each relative to the measured end-to-end mean."""
    found = []
    for seen in observations:
        simulated = predict(scenario, seen)
        scale = float(np.mean(seen.end_to_end))
        never_s = seen.run.manifest.seconds
        hops = [_distance(seen.hops[hop], simulated.hops[hop], never_s) for hop in seen.hops]
        known = [distance for distance in hops if distance is not None]
        whole = _distance(seen.end_to_end, simulated.end_to_end, never_s) or 0.0
        found.append((whole + float(np.mean(known))) / scale)
    return float(np.mean(found))


def _distance(measured: Floats, simulated: Floats, never_s: float) -> float | None:
    """Returns the mean distance of two quantile functions, None where nothing was measured.

    What the simulation, saturated, never brings in the window is late by at least the window's length, `never_s`.
    """
    if np.isnan(measured).all():
        return None
    return never_s if np.isnan(simulated).all() else float(np.mean(np.abs(measured - simulated)))


def _repeatability(observations: Sequence[Observation]) -> dict[str, float]:
    """Pools, over the loads measured more than once, the relative standard deviation between repeats of every KPI."""
    groups: dict[float, list[Observation]] = {}
    for seen in observations:
        groups.setdefault(seen.run.manifest.rate_eps, []).append(seen)
    repeated = [group for group in groups.values() if len(group) > 1]
    found: dict[str, float] = {}
    for name in observations[0].kpis:
        variances = []
        for group in repeated:
            values = np.array([seen.kpis[name] for seen in group if name in seen.kpis])
            if len(values) > 1 and values.mean() > 0:
                variances.append(float(values.var(ddof=1) / values.mean() ** 2))
        if variances:
            found[name] = float(np.sqrt(np.mean(variances)))
    return found


def _training(seen: Observation) -> TrainingRun:
    manifest = seen.run.manifest
    return TrainingRun(
        name=seen.run.name,
        sha256=run_hash(seen.run),
        rate_eps=manifest.rate_eps,
        scenario_hash=manifest.scenario_hash,
        started_at=manifest.started_at,
        seconds=manifest.seconds,
        valid=manifest.validity.valid,
        kpis=seen.kpis,
    )

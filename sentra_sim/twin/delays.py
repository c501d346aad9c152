"""Pure delays from timestamps: what a hop takes beyond the CPU work and the waiting that the simulation already explains.

Each hop that has a delay in the scenario gets its distribution by iteration: simulate the training loads, compare the hop's quantiles
with the measured ones, move the delay's quantiles by a part of the difference. The delay does not depend on the load; whatever grows
with the load has to come from contention, and where it does not, the hop's error shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from sentra_sim.scenario import Batcher, Broadcast, ConsumerGroup, Log, Pool, Scenario, Store, only
from sentra_sim.scenario.schema import AnyStation, Delay, Noise
from sentra_sim.twin.observe import PROBABILITIES, Observation
from sentra_sim.twin.simulate import Simulated

Floats = NDArray[np.float64]
Predict = Callable[[Scenario, Observation], Simulated]

POINTS = np.linspace(0.0, 1.0, 101)
STEP = 0.7
ROUNDS = 6


def delay_fields(scenario: Scenario) -> dict[str, tuple[str, str]]:
    """Returns hop → (station, field) for every hop whose time a delay of the scenario is part of."""
    found: dict[str, tuple[str, str]] = {}
    for name, station in scenario.stations.items():
        if isinstance(station, Batcher):
            found[station.hops[0]] = (name, "network")
            found[station.hops[1]] = (name, "timer")
        elif isinstance(station, Log):
            found[station.hop] = (name, "replication")
            found[only(scenario, ConsumerGroup)[1].hop] = (name, "fetch")
        elif isinstance(station, Broadcast):
            found[station.hops[0]] = (name, "handover")
            found[station.hops[1]] = (name, "network")
        elif isinstance(station, Pool) or (isinstance(station, Store) and not station.flush_s):
            found[station.hop] = (name, "delay")
    return found


def fit_delays(scenario: Scenario, observations: Sequence[Observation], predict: Predict) -> Scenario:
    """Returns the scenario with delays under which the simulated hops follow the measured ones on all observations jointly.

    The iteration starts from the scenario's own delays.
    """
    fields = delay_fields(scenario)
    quantiles = {hop: _quantiles(getattr(scenario.stations[name], field)) for hop, (name, field) in fields.items()}
    for _ in range(ROUNDS):
        residuals: dict[str, list[Floats]] = {hop: [] for hop in fields}
        for seen in observations:
            simulated = predict(scenario, seen)
            for hop in fields:
                residuals[hop].append(seen.hops[hop] - simulated.hops[hop])
        for hop, found in residuals.items():
            quantiles[hop] = _moved(quantiles[hop], np.mean(found, axis=0))
        scenario = _with_delays(scenario, fields, quantiles)
    return scenario


def with_delays_of(source: Scenario, scenario: Scenario) -> Scenario:
    """Returns a scenario with the delays of another one of the same stations."""
    stations: dict[str, AnyStation] = dict(scenario.stations)
    for name, field in delay_fields(scenario).values():
        stations[name] = stations[name].model_copy(update={field: getattr(source.stations[name], field)})
    return scenario.model_copy(update={"stations": stations})


def _quantiles(delay: Delay) -> Floats:
    """Returns a delay's seconds at POINTS; of a delay with other noise than quantiles, its mean."""
    factors = delay.noise.quantiles if len(delay.noise.quantiles) == len(POINTS) else np.ones(len(POINTS))
    return delay.mean_s * np.asarray(factors, dtype=np.float64)


def _moved(quantiles: Floats, residual: Floats) -> Floats:
    """Moves a delay's quantile function by a part of the residual; it stays a quantile function of a delay."""
    if np.isnan(residual).any():
        return quantiles
    step = np.interp(POINTS, PROBABILITIES, residual)
    # The nearest non-decreasing function: raising the later points to the earlier ones would only ever lengthen the delay.
    return np.asarray(np.maximum(isotonic_regression(quantiles + STEP * step).x, 0.0))


def _with_delays(scenario: Scenario, fields: dict[str, tuple[str, str]], quantiles: dict[str, Floats]) -> Scenario:
    stations: dict[str, AnyStation] = dict(scenario.stations)
    for hop, (name, field) in fields.items():
        stations[name] = stations[name].model_copy(update={field: _delay(quantiles[hop])})
    return scenario.model_copy(update={"stations": stations})


def _delay(quantiles: Floats) -> Delay:
    # The mean of the piecewise linear quantile function, so that the noise has mean one.
    mean = float(np.trapezoid(quantiles, POINTS))
    if mean <= 0.0:
        return Delay()
    return Delay(
        mean_s=mean, noise=Noise(dist="quantiles", quantiles=tuple(float(f"{q / mean:.5g}") for q in quantiles))
    )

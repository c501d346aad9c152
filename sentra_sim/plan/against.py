"""Two scenarios simulated with common random numbers, until the differences of their latencies are as precise as asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sentra_sim.engine.replications import Replications
from sentra_sim.engine.run import Engine
from sentra_sim.errors import InputError
from sentra_sim.kpi import QUANTILES
from sentra_sim.records import Manifest, Tables
from sentra_sim.scenario import Scenario
from sentra_sim.stats import Difference, until_difference


@dataclass(frozen=True)
class Compared:
    """What the pairs of replications gave.

    `differences`: by name of the KPI, seconds. `warmup_s`: what was cut off each replication. `runs`: the first of both.
    `saturated`: of both, the hops before which events pile up, with by how many events/s more there are; then there are no differences.
    """

    differences: dict[str, Difference]
    replications: int
    reached: bool
    warmup_s: float
    runs: tuple[tuple[Tables, Manifest], tuple[Tables, Manifest]]
    saturated: tuple[dict[str, float], dict[str, float]] = field(default_factory=lambda: ({}, {}))


def simulate_against(
    one: Scenario,
    other: Scenario,
    *,
    relative: float,
    seconds: float,
    warmup_s: float,
    seed: int,
    most: int,
    engine: Engine = "compiled",
    twin: str | None = None,
    tell: Callable[[int, float], None] | None = None,
) -> Compared:
    """Simulates both with the seeds `seed`, `seed + 1`, … until each difference's half-width is at most `relative` of the one's value.

    Stations of one name draw the same numbers in both, for there is one stream per station and purpose (Law, Simulation Modeling and
    Analysis, 11.2). The longer of both warm-ups is cut off both.

    Args:
        one: What the other is compared with.
        other: What is different; latencies that both name in `kpis` are compared.
        relative: For example 0.02.
        seconds: Length of each replication's window.
        warmup_s: Load before it, at least.
        seed: Of the first replication of both.
        most: Pairs of replications after which it gives up.
        engine: Which engine plays them.
        twin: Hash of the twin file that the scenarios' numbers come from.
        tell: Gets, after each pair, their number and the largest relative half-width.

    Raises:
        InputError: the two name no latency in common, a length is not positive, or there is no such engine.
    """
    if not set(one.kpis) & set(other.kpis):
        raise InputError(
            f"{other.name}: kpis: must name a latency that {one.name} names too, got {_names(other)} against {_names(one)}; "
            "add e2e to both"
        )
    pair = [
        Replications(scenario, seconds=seconds, warmup_s=warmup_s, seed=seed, engine=engine, twin=twin)
        for scenario in (one, other)
    ]
    first, second = pair
    if first.saturated or second.saturated:
        return Compared({}, 1, False, warmup_s, (first.first, second.first), (first.saturated, second.saturated))
    transient_s = max(runs.transient_s() for runs in pair)
    for runs in pair:
        runs.cut(transient_s)
    found = until_difference(
        lambda number: (first.sample(number), second.sample(number)),
        tuple(QUANTILES.values()),
        relative=relative,
        most=most,
        tell=tell,
    )
    labels = {q: label for label, q in QUANTILES.items()}
    differences = {f"{name}_{labels[q]}_s": difference for (name, q), difference in found.differences.items()}
    return Compared(differences, found.replications, found.reached, first.warmup_s, (first.first, second.first))


def _names(scenario: Scenario) -> str:
    return ", ".join(scenario.kpis) or "none"

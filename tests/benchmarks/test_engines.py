"""Speed of the compiled engine beside the SimPy engine, on Sentra's own pipeline and the same plan: `make bench`."""

from collections.abc import Callable
from time import process_time
from typing import TypeVar

import numpy as np
from rich.console import Console
from rich.table import Table

from sentra_sim.engine import Trace, prepare, run
from sentra_sim.scenario import load_scenario
from tests.pipelines import SENTRA

T = TypeVar("T")

LEAST_SPEEDUP = 100.0
SECONDS = 10.0
LONG_S = 40.0


def test_the_compiled_engine_is_a_hundred_times_as_fast() -> None:
    scenario = load_scenario(SENTRA)
    plan = prepare(scenario, seconds=SECONDS, seed=1)
    first_s, _ = timed(lambda: run(prepare(scenario, seconds=0.0, seed=1)))
    reference_s, reference = best(3, lambda: run(plan, engine="reference"))
    compiled_s, compiled = best(20, lambda: run(plan))
    np.testing.assert_array_equal(compiled.hops_s, reference.hops_s)
    np.testing.assert_array_equal(compiled.frame, reference.frame)
    np.testing.assert_array_equal(compiled.cpu_s, reference.cpu_s)
    speedup = reference_s / compiled_s

    long_plan = prepare(scenario, seconds=LONG_S, seed=1)
    draws_s, _ = timed(lambda: run(long_plan))  # a plan draws when it is first played
    refit_s, refit = timed(lambda: prepare(scenario, seconds=LONG_S, seed=1, like=long_plan))
    long_s, long = best(9, lambda: run(long_plan))
    refit_s += timed(lambda: run(refit))[0] - long_s

    table = Table(title=f"{scenario.name} at {scenario.load.rate_eps:,.0f} events/s", title_justify="left")
    for column in ("engine", "load, s", "CPU, s", "simulated s / s", "frame-hops / s", "speed"):
        table.add_column(column, justify="left" if column == "engine" else "right")
    table.add_row(*row("SimPy", SECONDS, reference_s, reference), "1")
    table.add_row(*row("compiled", SECONDS, compiled_s, compiled), f"{speedup:.0f}")
    table.add_row(*row("compiled", LONG_S, long_s, long), "")
    console = Console(width=100)
    console.print()
    console.print(table)
    console.print(f"Apart from that: loading or compiling the engine, once a process {first_s:.2f} s;")
    console.print(
        f"drawing the load of {LONG_S:.0f} s {draws_s - long_s:.3f} s, for a refit with the same draws {refit_s * 1e3:.1f} ms."
    )
    assert speedup >= LEAST_SPEEDUP


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """Returns how long a piece of work took this process, in seconds, and its result.

    CPU time, as both engines run on one thread and what else the machine does is not their fault.
    """
    start = process_time()
    result = work()
    return process_time() - start, result


def best(times: int, work: Callable[[], T]) -> tuple[float, T]:
    """Returns the shortest time of several goes, in seconds, and the last result: a disturbance only ever adds."""
    shortest_s, result = timed(work)
    for _ in range(times - 1):
        seconds, result = timed(work)
        shortest_s = min(shortest_s, seconds)
    return shortest_s, result


def row(name: str, load_s: float, cpu_s: float, trace: Trace) -> tuple[str, ...]:
    hops = np.isfinite(trace.hops_s).sum()
    return name, f"{load_s:.0f}", f"{cpu_s:.4f}", f"{load_s / cpu_s:,.0f}", f"{hops / cpu_s:,.0f}"

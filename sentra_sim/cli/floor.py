"""`sentra floor`: the same loads again and again on one warm stack, in shuffled order, and how far they lie apart."""

from __future__ import annotations

import json
import random
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from sentra_sim.cli.demo import SEED, Load, Protocol, measure_load, warm_stack
from sentra_sim.cli.progress import print_step
from sentra_sim.cli.tables import console, number, table
from sentra_sim.errors import InputError

if TYPE_CHECKING:
    from sentra_sim.kpi import Floor
    from sentra_sim.records import Run


def floor(options: Namespace) -> int:
    """Measures, keeps the runs, and prints the floor."""
    from sentra_sim.kpi import noise_floor
    from sentra_sim.records import read_run, refuse_existing
    from sentra_sim.scenario import load_scenario

    rates = parse_rates(options.rates)
    if options.repeats < 2:
        raise InputError(f"--repeats: must be >= 2, got {options.repeats}; one run has no spread")
    scenario = load_scenario(options.scenario)
    loads = [Load(rate, repeat + 1) for rate in rates for repeat in range(options.repeats)]
    # Shuffled, so that the host's drift over the minutes does not look like an effect of the load.
    random.Random(SEED).shuffle(loads)
    for load in loads:
        refuse_existing(options.output / load.folder, replace=options.replace)
    warm_stack(scenario, options.output, Protocol())
    for count, load in enumerate(loads):
        print_step(f"run {count + 1}/{len(loads)}: {load.rate_eps:,.0f} events/s")
        measure_load(scenario, load, options.output / load.folder, options.warmup, options.seconds)
    runs = [
        read_run(options.output / load.folder) for load in sorted(loads, key=lambda one: (one.rate_eps, one.repeat))
    ]
    return print_floor(runs, noise_floor(runs), as_json=options.json)


def parse_rates(text: str) -> tuple[float, ...]:
    """Reads `50000,100000` as rates in events/s.

    Raises:
        InputError: it is written in another way, or a rate comes twice.
    """
    try:
        rates = tuple(float(rate) for rate in text.split(","))
    except ValueError:
        rates = ()
    if not rates or min(rates) <= 0.0 or len(set(rates)) < len(rates):
        raise InputError(
            f"--rates: must be different rates, separated by commas, got {text!r}; write for example 50000,100000"
        )
    return rates


def print_floor(runs: Sequence[Run], floors: Sequence[Floor], *, as_json: bool) -> int:
    """Prints range over mean per load and quantile, and the runs that were left out; 1 when a load has no floor."""
    spoilt = {run.name: list(run.manifest.validity.reasons) for run in runs if not run.manifest.validity.valid}
    code = 1 if any(one.spread is None for one in floors) else 0
    if as_json:
        print(json.dumps({"floors": [asdict(one) for one in floors], "not_valid": spoilt}))
        return code
    made = table("noise floor: range over mean of repeated runs", "events/s", "KPI", "runs", "mean", "range / mean", "")
    for one in floors:
        spread = "nodata" if one.spread is None else f"{one.spread:.1%}"
        values = ", ".join(number(value, "s") for value in one.values_s)
        made.add_row(f"{one.rate_eps:,.0f}", one.name, str(len(one.values_s)), number(one.mean_s, "s"), spread, values)
    out = console()
    out.print(made)
    for name, reasons in spoilt.items():
        out.print(f"[bold red]NOT VALID[/], not counted: {name}: {'; '.join(reasons)}")
    return code

"""`sentra simulate --until-half-width`: replications until the latencies are as precise as asked for."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

from sentra_sim.cli.tables import console, number, table
from sentra_sim.errors import InputError

if TYPE_CHECKING:
    from sentra_sim.engine import Replicated
    from sentra_sim.scenario import Scenario

Tell = Callable[[int, float], None]
MISSED = 1


def parse_share(text: str) -> float:
    """Reads `2%` or `0.02`.

    Raises:
        InputError: it is neither, or not between 0 and 100 %.
    """
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0.0 < share < 1.0:
        raise InputError(f"--until-half-width: must lie between 0% and 100%, got {text!r}; write for example 2%")
    return share


def replicate(
    options: Namespace, scenario: Scenario, *, seconds: float, seed: int, twin: str | None, warnings: Sequence[str] = ()
) -> int:
    """Writes the first replication as the run, and shows what all of them give; exit 1 when that is not as precise as asked for.

    Raises:
        InputError: the precision or the number of replications cannot be.
    """
    from sentra_sim.engine import simulate_until
    from sentra_sim.records import write_run

    relative = parse_share(options.until_half_width)
    if options.max_replications < 2:
        raise InputError(f"--max-replications: must be at least 2, got {options.max_replications}; write 1000")
    with _progress(relative, quiet=options.json) as tell:
        found = simulate_until(
            scenario,
            relative=relative,
            seconds=seconds,
            warmup_s=options.warmup,
            seed=seed,
            most=options.max_replications,
            engine=options.engine,
            twin=twin,
            tell=tell,
        )
    write_run(options.output, *found.first, replace=options.replace)
    if found.saturated and not options.json:
        from sentra_sim.cli.runtables import print_run
        from sentra_sim.records import read_run

        print_run(read_run(options.output), as_json=False, hops=False)
        return MISSED
    _print(found, scenario, relative, as_json=options.json, warnings=warnings)
    return 0 if found.reached else MISSED


@contextmanager
def _progress(relative: float, *, quiet: bool) -> Iterator[Tell]:
    if quiet:
        yield lambda count, widest: None
        return
    from rich.console import Console

    with Console(stderr=True).status("finding the warm-up") as status:
        yield lambda count, widest: status.update(f"replication {count}: ±{widest:.1%} of ±{relative:.1%}")


def _print(found: Replicated, scenario: Scenario, relative: float, *, as_json: bool, warnings: Sequence[str]) -> None:
    if as_json:
        data = {
            "replications": found.replications,
            "reached": found.reached,
            "warmup_s": found.warmup_s,
            "kpis": {name: asdict(interval) for name, interval in found.intervals.items()},
            "saturated": found.saturated,
            "warnings": list(warnings),
        }
        print(json.dumps(data))
        return
    out = console()
    title = f"{scenario.name}: {found.replications} replications, {found.warmup_s:g} s cut off each"
    made = table(title, "KPI", "value", "95 % interval", "half-width")
    for name, interval in found.intervals.items():
        share = f"{interval.half_width / interval.value:.1%}" if interval.value else "-"
        made.add_row(
            name, number(interval.value, "s"), f"{number(interval.low, 's')} … {number(interval.high, 's')}", share
        )
    out.print(made)
    if not found.reached:
        out.print(
            f"[bold red]not as precise as ±{relative:.1%}[/]: more --seconds, more --max-replications, or a load that "
            "the pipeline can carry"
        )

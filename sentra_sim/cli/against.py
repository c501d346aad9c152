"""`sentra simulate --against`: two scenarios with common random numbers, latency by latency."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sentra_sim.cli.precision import MISSED, check_options, parse_share, progress
from sentra_sim.cli.tables import console, number, table
from sentra_sim.errors import InputError

if TYPE_CHECKING:
    from sentra_sim.plan.against import Compared
    from sentra_sim.scenario import Scenario
    from sentra_sim.stats import Difference


def wanted(options: Namespace) -> bool:
    """Tells whether two scenarios are to be compared.

    Raises:
        InputError: they are, and how precisely is not said.
    """
    if options.against is None and not options.against_set:
        return False
    if options.until_half_width is None:
        raise InputError("--against: must have --until-half-width, got none; write for example --until-half-width 2%")
    return True


def other_folder(output: Path) -> Path:
    """Returns where the other scenario's first replication goes: beside the one's."""
    return output.with_name(f"{output.name}-against")


def compare(
    options: Namespace,
    one: Scenario,
    other: Scenario,
    *,
    seconds: float,
    seed: int,
    twin: str | None,
    warnings: Sequence[str] = (),
) -> int:
    """Writes the first replication of both, and shows the differences; exit 1 when those are not as precise as asked for.

    Raises:
        InputError: the precision or the number of replications cannot be, or the two name no latency in common.
    """
    from sentra_sim.plan.against import simulate_against
    from sentra_sim.records import refuse_existing, write_run

    relative = parse_share(options.until_half_width)
    check_options(options)
    beside = other_folder(options.output)
    refuse_existing(beside, replace=options.replace)
    with progress(relative, quiet=options.json) as tell:
        found = simulate_against(
            one,
            other,
            relative=relative,
            seconds=seconds,
            warmup_s=options.warmup,
            seed=seed,
            most=options.max_replications,
            engine=options.engine,
            twin=twin,
            tell=tell,
        )
    for folder, run in zip((options.output, beside), found.runs, strict=True):
        write_run(folder, *run, replace=options.replace)
    if options.json:
        print(json.dumps(_data(found, other, warnings)))
    else:
        _print(found, one, relative)
    return 0 if found.reached else MISSED


def _data(found: Compared, other: Scenario, warnings: Sequence[str]) -> dict[str, Any]:
    return {
        "against": other.name,
        "replications": found.replications,
        "reached": found.reached,
        "warmup_s": found.warmup_s,
        "kpis": {
            name: {**asdict(difference), "relative": difference.relative, "verdict": difference.verdict}
            for name, difference in found.differences.items()
        },
        "saturated": dict(zip(("one", "other"), found.saturated, strict=True)),
        "warnings": list(warnings),
    }


def _print(found: Compared, one: Scenario, relative: float) -> None:
    out = console()
    for who, hops in zip(("the scenario", "the other (against)"), found.saturated, strict=True):
        for hop, growth in hops.items():
            out.print(f"[bold red]saturated[/]: {who}: before {hop} {growth:,.0f} events more every second")
    if any(found.saturated):
        out.print("a backlog that grows has no latency to compare; lower --rate, or mend what is saturated")
        return
    title = f"{one.name}: {found.replications} pairs of replications, {found.warmup_s:g} s cut off each"
    made = table(
        title, "KPI", "value", "against", "difference", "95 % interval", "change", "verdict", "variance", "correlation"
    )
    for name, difference in found.differences.items():
        made.add_row(name, *_cells(difference))
    out.print(made)
    out.print("variance: of the difference, against that of runs with seeds of their own")
    if not found.reached:
        out.print(
            f"[bold red]not as precise as ±{relative:.1%}[/]: more --seconds, more --max-replications, or a load that "
            "the pipelines can carry"
        )


def _cells(found: Difference) -> tuple[str, ...]:
    interval = found.difference
    return (
        number(found.one, "s"),
        number(found.other, "s"),
        number(interval.value, "s"),
        f"{number(interval.low, 's')} … {number(interval.high, 's')}",
        "-" if found.relative is None else f"{found.relative:+.1%}",
        found.verdict,
        "-" if found.variance_ratio is None else f"x {found.variance_ratio:.2f}",
        "-" if found.correlation is None else f"{found.correlation:.2f}",
    )

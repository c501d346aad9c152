"""`sentra rollout simulate`: a population of releases against a policy, and what the policy caught and missed."""

from __future__ import annotations

import json
from argparse import SUPPRESS, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from sentra_sim.cli.tables import console, table
from sentra_sim.errors import InputError

if TYPE_CHECKING:
    from sentra_sim.cli.parser import Parser
    from sentra_sim.control.file import Control
    from sentra_sim.control.rollout import RolloutPolicy
    from sentra_sim.plan.population import Population
    from sentra_sim.plan.summary import Summary
    from sentra_sim.stats import Interval

COUNT, SECONDS, WORKERS = 1000, 600.0, 2
BAD_SHARE, FACTORS = 0.3, "1.2:10"


def add_options(parser: Parser) -> None:
    """Adds the command's options."""
    kinds = parser.add_subparsers(dest="what", required=True, metavar="WHAT", parser_class=type(parser))
    text = "play many releases, good and bad, against a policy"
    simulate = kinds.add_parser("simulate", help=text, description=f"{text.capitalize()}.")
    # Left out it keeps what stands before it: the command has the option too.
    simulate.add_argument(
        "--json", action="store_true", default=SUPPRESS, help="print JSON for machines instead of a table"
    )
    simulate.add_argument("scenario", metavar="SCENARIO", type=Path, help="scenario file")
    simulate.add_argument(
        "--control", type=Path, metavar="FILE", required=True, help="YAML: the rollout, and the station of its defect"
    )
    simulate.add_argument(
        "-o",
        "--output",
        metavar="ROWS",
        type=Path,
        required=True,
        help="rows, as JSON lines; an interrupted one goes on",
    )
    simulate.add_argument("--count", type=int, default=COUNT, help=f"rollouts, each with a seed of its own ({COUNT})")
    simulate.add_argument("--seconds", type=float, default=SECONDS, help=f"length of each one's load ({SECONDS:g})")
    simulate.add_argument("--rate", type=float, metavar="EPS", help="events per second (the scenario's)")
    simulate.add_argument(
        "--bad-share", type=float, default=BAD_SHARE, help=f"share of the releases that are bad ({BAD_SHARE:g})"
    )
    simulate.add_argument(
        "--factors",
        metavar="LOW:HIGH",
        default=FACTORS,
        help=f"by how much a bad release multiplies the station's demand, evenly by its logarithm ({FACTORS})",
    )
    simulate.add_argument("--workers", type=int, default=WORKERS, help=f"processes on this machine ({WORKERS})")
    simulate.add_argument("--scheduler", metavar="ADDRESS", help="play them on this Dask cluster instead")


def rollout(options: Namespace) -> int:
    """Plays what is missing of a sweep, and prints what all its rows say."""
    from sentra_sim.control.file import load_control
    from sentra_sim.plan.rollouts import RolloutTask
    from sentra_sim.plan.summary import summarize
    from sentra_sim.plan.sweep import sweep
    from sentra_sim.scenario import load_scenario, scenario_data, with_load

    for name in ("count", "workers", "seconds"):
        if not getattr(options, name) > 0:
            raise InputError(f"--{name}: must be above 0, got {getattr(options, name):g}; write a number")
    policy, station = _policy(load_control(options.control), options.control)
    scenario = with_load(load_scenario(options.scenario), rate_eps=options.rate)
    if station not in scenario.stations:
        names = ", ".join(scenario.stations)
        raise InputError(
            f"{options.control.name}.defects.{policy.canary}.station: must be of the scenario, got {station!r}; valid names: {names}"
        )
    task = RolloutTask(scenario_data(scenario), policy.model_dump(), _population(options, station), options.seconds)
    with counting("rollouts", quiet=options.json) as progress:
        rows = sweep(
            task,
            range(options.count),
            options.output,
            workers=options.workers,
            scheduler=options.scheduler,
            progress=progress,
        )
    return print_summary(summarize(rows, start_s=policy.start_s), as_json=options.json)


def _policy(control: Control, file: Path) -> tuple[RolloutPolicy, str]:
    """Returns a control file's policy, and the station of its canary's defect."""
    from sentra_sim.control.rollout import RolloutController

    controllers = control.controllers
    others = ["deploys"] if control.file.deploys else []
    if others or len(controllers) != 1 or not isinstance(controllers[0], RolloutController):
        names = ", ".join([*(one.name for one in controllers), *others])
        raise InputError(f"{file.name}: must hold a rollout alone, got {names}; take the others out")
    policy = controllers[0].policy
    if policy.canary not in control.defects:
        raise InputError(
            f"{file.name}.defects: must hold the canary {policy.canary!r}; write the station that it changes"
        )
    return policy, control.defects[policy.canary][0]


def _population(options: Namespace, station: str) -> Population:
    from sentra_sim.plan.population import Population

    try:
        least, most = (float(part) for part in options.factors.split(":"))
    except ValueError:
        least, most = 0.0, 0.0
    if not 1.0 < least <= most < float("inf"):
        raise InputError(f"--factors: must be two factors above 1 that rise, got {options.factors!r}; write {FACTORS}")
    if not 0.0 <= options.bad_share <= 1.0:
        raise InputError(f"--bad-share: must be from 0 to 1, got {options.bad_share:g}; write {BAD_SHARE:g}")
    return Population(station, options.bad_share, least, most)


@contextmanager
def counting(what: str, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Shows how many are done, with the time that the rest will take; without a terminal a line at each tenth."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from sentra_sim.cli.progress import print_step

    err, told = Console(stderr=True), [0]
    if quiet or not err.is_terminal:

        def tell(done: int, total: int) -> None:
            if not quiet and done * 10 // total > told[0]:
                told[0] = done * 10 // total
                print_step(f"{what}: {done:,} of {total:,}")

        yield tell
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        line = bar.add_task(what)
        yield lambda done, total: bar.update(line, completed=done, total=total)


def print_summary(summary: Summary, *, as_json: bool) -> int:
    """Prints what a sweep says of its policy."""
    if as_json:
        print(json.dumps(asdict(summary)))
        return 0
    out = console()
    good = summary.rollouts - summary.bad
    made = table(f"{summary.rollouts:,} simulated rollouts", "", "of", "share", "95 % interval")
    made.add_row("false rollbacks", f"{good:,} good", *_share(summary.false_rollbacks))
    made.add_row("missed defects", f"{summary.bad:,} bad", *_share(summary.missed))
    for band in summary.bands:
        text = f"  factor {band.least_factor:.2f} to {band.most_factor:.2f}"
        made.add_row(text, f"{band.releases:,} bad", *_share(band.missed))
    made.add_row("unfinished at the end", f"{summary.rollouts:,}", f"{summary.unfinished:,}", "")
    out.print(made)
    made = table("times, s", "", *("P50", "P95", "P99", "longest"))
    made.add_row("first weight to rollback", *_times(summary.detection_s))
    made.add_row(f"first breach to restored ({summary.restored:,})", *_times(summary.rollback_s))
    out.print(made)
    out.print("CPU a rollout: nodata" if summary.cpu_s is None else f"CPU a rollout: {summary.cpu_s:.3f} s")
    return 0


def _share(found: Interval | None) -> tuple[str, str]:
    return ("nodata", "") if found is None else (f"{found.value:.2%}", f"{found.low:.2%} … {found.high:.2%}")


def _times(found: dict[str, float] | None) -> tuple[str, ...]:
    return ("nodata",) * 4 if found is None else tuple(f"{value:.0f}" for value in found.values())

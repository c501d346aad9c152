"""`sentra chaos`: faults on the live pipeline under load, and what they cost."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sentra_sim.cli import live
from sentra_sim.errors import InputError

if TYPE_CHECKING:
    from sentra_sim.cli.parser import Parser

RATE_EPS = 20_000.0
FAULTS = 100
SCENARIO = Path("data/scenarios/sentra.yaml")


def add_options(parser: Parser) -> None:
    """Adds the command's options."""
    parser.add_argument("fault", metavar="FAULT", nargs="?", help="one fault; --list shows them")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--campaign", action="store_true", help="a seeded mix of all faults, into the folder of -o")
    what.add_argument("--rolling-restart", action="store_true", help="restart every component in order, under load")
    what.add_argument("--list", action="store_true", help="show the faults")
    parser.add_argument("--target", help="component to hit: leader, follower, controller or kafka-1 to kafka-3")
    parser.add_argument("--faults", type=int, default=FAULTS, help=f"faults of the campaign ({FAULTS})")
    parser.add_argument("--rate", type=float, default=RATE_EPS, metavar="EPS", help=f"offered events/s ({RATE_EPS:g})")
    parser.add_argument("--seed", type=int, default=1, help="seed of the load, the mix and the choices (1)")
    parser.add_argument("--scenario", type=Path, default=SCENARIO, help=f"scenario file ({SCENARIO})")
    parser.add_argument(
        "--keep-scratch", action="store_true", help="keep hop logs and process logs in $SENTRA_HOME/runs"
    )
    parser.add_argument(
        "-o", "--output", metavar="FOLDER", type=Path, help="folder for faults.parquet and campaign.json"
    )


def chaos(options: Namespace) -> int:
    """Plays faults; exit 1 when an acknowledged event was lost, one had effect twice, or a fault was not recovered from."""
    lab = live.load("chaos")
    if options.list:
        return _print_faults(lab, as_json=options.json)
    faults = _faults(options, lab)
    if options.campaign and options.output is None:
        raise InputError("chaos: --campaign must have a folder, got none; add -o FOLDER")
    if not options.rate > 0 or options.seed < 0:
        raise InputError(
            f"chaos: --rate must be above 0 and --seed at least 0, got {options.rate:g} and {options.seed}"
        )
    from sentra_sim.scenario import load_scenario

    scenario = load_scenario(options.scenario)
    common = {"bounds": lab.Bounds(options.rate), "seed": options.seed, "keep_scratch": options.keep_scratch}
    played: list[Any] = []
    with _saved(played, options, lab), _steps(quiet=options.json) as tell:
        if options.rolling_restart:
            played.append(lab.run_rolling_restart(scenario, tell=tell, **common))
        else:
            for session in lab.run_faults(scenario, faults, tell=tell, **common):
                played.append(session)  # one by one: what is complete is kept when the rest is interrupted
    return _print_played(lab, played, as_json=options.json)


def _faults(options: Namespace, lab: Any) -> list[Any]:
    proxied = live.load("stack").is_proxied()
    if options.campaign:
        if options.faults < 1:
            raise InputError(f"--faults: must be at least 1, got {options.faults}; write a number of faults")
        return [lab.find_fault(name) for name in lab.draw_schedule(options.faults, options.seed, proxied=proxied)]
    if options.rolling_restart:
        return []
    if options.fault is None:
        raise InputError("chaos: must have a fault, --campaign, --rolling-restart or --list, got none; try --list")
    return [lab.find_fault(options.fault, options.target, proxied=proxied)]


@contextmanager
def _saved(played: list[Any], options: Namespace, lab: Any) -> Iterator[None]:
    """Writes what was played, also when it was interrupted in between."""
    try:
        yield
    finally:
        if options.output is not None and played:
            lab.save(options.output, played, seed=options.seed, rate_eps=options.rate)


@contextmanager
def _steps(*, quiet: bool) -> Iterator[Any]:
    from sentra_sim.cli.progress import print_step

    yield (lambda _: None) if quiet else print_step


def _print_faults(lab: Any, *, as_json: bool) -> int:
    from sentra_sim.cli.tables import console, table

    if as_json:
        names = ("name", "target", "text", "proxied")
        print(json.dumps([{name: getattr(fault, name) for name in names} for fault in lab.FAULTS.values()]))
        return 0
    shown = table("faults", "fault", "target", "what it does", "needs")
    for fault in lab.FAULTS.values():
        shown.add_row(fault.name, fault.target, fault.text, "sentra up --proxied" if fault.proxied else "")
    console().print(shown)
    return 0


def _print_played(lab: Any, played: list[Any], *, as_json: bool) -> int:
    from sentra_sim.cli.tables import console, number, table

    found = lab.summarise(played)
    if as_json:
        print(json.dumps(asdict(found)))
        return 0 if found.passed else 1
    shown = table("recovery by fault", "fault", "n", "felt", "median", "P95", "max", "not recovered")
    for kind in found.kinds:
        times = (number(value, "s") for value in (kind.median_s, kind.p95_s, kind.max_s))
        shown.add_row(kind.fault, str(kind.n), str(kind.felt), *times, str(kind.not_recovered))
    console().print(shown)
    console().print(
        f"acknowledged {found.acked_events:,} · lost {found.lost} · duplicates {found.duplicates} · repetitions refused "
        f"{found.refused_duplicates:,} · dead letters {found.dead} · acknowledged within 1 s {found.availability:.2%}"
    )
    for line in found.breaches:
        console().print(f"[bold red]BREACH[/] {line}")
    return 0 if found.passed else 1

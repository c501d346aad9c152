"""Arguments → command; one line and an exit code for everything that is the user's to mend."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sentra_sim.cli import chaos, commands, rollout
from sentra_sim.cli.parser import Parser
from sentra_sim.errors import InputError, SentraError

INTERRUPTED = 130
PLANT_HELP = "breaks the pipeline on purpose, to see that the checker notices (docs/verify.md)"

CONTROL_HELP = "YAML: who acts on the run: rollout, autoscaler, faults (docs/control.md)"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0 done, 1 a bound is missed, 2 bad input, 3 a component failed, 130 interrupted."""
    try:
        options = build_parser().parse_args(argv)
        code: int = options.run(options)
    except SentraError as error:
        print(f"sentra: {error}", file=sys.stderr)
        return error.exit_code
    except MemoryError as error:
        print(
            f"sentra: memory: must hold the run, got {error or 'more than there is'}; "
            "lower load.rate_eps or load.keys, or shorten --seconds",
            file=sys.stderr,
        )
        return InputError.exit_code
    except KeyboardInterrupt:
        print("sentra: interrupted; nothing half-written is left", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    return code


def build_parser() -> Parser:
    """Returns the parser of all commands."""
    parser = Parser(
        prog="sentra", description="Digital-twin lab for streaming pipelines: measure, calibrate, simulate, compare."
    )
    parser.add_argument("--version", action="version", version=commands.version_line())
    group = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    _demo(group)
    _stack(group)
    _runs(group)
    _twin(group)
    _dashboard(group)
    chaos.add_options(
        _command(group, "chaos", chaos.chaos, "harm the live pipeline under load and check that nothing is lost")
    )
    rollout.add_options(
        _command(group, "rollout", rollout.rollout, "try a rollout policy on a population of simulated releases")
    )
    return parser


def _command(group: argparse._SubParsersAction[Parser], name: str, run: object, text: str) -> Parser:
    parser = group.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.set_defaults(run=run)
    parser.add_argument("--json", action="store_true", help="print JSON for machines instead of a table")
    return parser


def _demo(group: argparse._SubParsersAction[Parser]) -> None:
    parser = _command(
        group, "demo", commands.demo, "stack up, measure four loads, calibrate, validate on the held-out one, dashboard"
    )
    parser.add_argument(
        "folder", nargs="?", type=Path, default=Path("runs"), help="folder of runs, twin and validation (runs)"
    )
    parser.add_argument("--no-serve", action="store_true", help="stop after the table (also: SERVE=0)")


def _stack(group: argparse._SubParsersAction[Parser]) -> None:
    up = _command(
        group, "up", commands.up, "start the local stack: three Kafka brokers, PostgreSQL, Redis, ClickHouse engine"
    )
    up.add_argument("--proxied", action="store_true", help="with a proxy before the brokers, for faults of the network")
    _command(group, "status", commands.status, "show the components of the local stack")
    _command(group, "down", commands.down, "stop the local stack and delete its data")


def _runs(group: argparse._SubParsersAction[Parser]) -> None:
    measure = _command(group, "measure", commands.measure, "run the live pipeline under load and record it")
    _load_options(measure, warmup=10.0)
    measure.add_argument("--gateway-port", type=int, help="loopback port of the gateway (a free one)")
    measure.add_argument(
        "--gateway-rules", type=Path, metavar="FILE", help="YAML: what the gateway allows (docs/gateway.md)"
    )
    measure.add_argument("--canary", metavar="RELEASE=WEIGHT", help="price this share of the keys with another release")
    measure.add_argument(
        "--notify", metavar="URL", help="webhook to tell when the run is not valid or misses its SLO ($SENTRA_WEBHOOK)"
    )
    measure.add_argument("--no-evidence", action="store_true", help="leave out what sentra verify needs")
    measure.add_argument("--no-telemetry", action="store_true", help="no metrics, traces, pauses: to learn their cost")
    measure.add_argument("--audit", action="store_true", help="check exactly-once effects during the run as well")
    measure.add_argument("--control", type=Path, metavar="FILE", help=CONTROL_HELP)
    measure.add_argument("--plant", metavar="NAME", default="", help=PLANT_HELP)
    verify = _command(group, "verify", commands.verify, "check that a measured run lost nothing and doubled nothing")
    verify.add_argument("run_folder", metavar="RUN", type=Path)
    simulate = _command(group, "simulate", commands.simulate, "simulate a scenario into a run folder")
    _load_options(simulate, warmup=5.0)
    simulate.add_argument("--twin", type=Path, help="use the demands and delays of this twin")
    simulate.add_argument("--engine", choices=("compiled", "reference"), default="compiled")
    simulate.add_argument(
        "--until-half-width",
        metavar="SHARE",
        help="repeat with other seeds until every latency's 95 %% interval is within this share of it, for example 2%%",
    )
    simulate.add_argument(
        "--max-replications", type=int, metavar="N", default=1000, help="give up after so many of them (1000)"
    )
    simulate.add_argument("--control", type=Path, metavar="FILE", help=CONTROL_HELP)
    kpi = _command(group, "kpi", commands.kpi, "show the KPIs of a run against its SLO")
    kpi.add_argument("run_folder", metavar="RUN", type=Path)
    kpi.add_argument("--enforce", action="store_true", help="exit 1 when a bound is missed")
    kpi.add_argument("--hops", action="store_true", help="add the time of every hop")
    soak = _command(group, "soak", commands.soak, "show whether a process of a measured run grew: memory, descriptors")
    soak.add_argument("run_folder", metavar="RUN", type=Path)
    soak.add_argument("--enforce", action="store_true", help="exit 1 when a process grows")
    soak.add_argument("--bound", type=float, metavar="MB", default=5.0, help="growth an hour that passes as flat (5)")
    soak.add_argument(
        "--fd-bound", type=float, metavar="N", default=10.0, help="descriptors an hour that pass as flat (10)"
    )
    floor = _command(
        group, "floor", commands.floor, "repeat loads on one warm stack, shuffled: how far do they lie apart?"
    )
    floor.add_argument("scenario", metavar="SCENARIO", type=Path)
    floor.add_argument("-o", "--output", metavar="FOLDER", type=Path, required=True, help="folder for the run folders")
    floor.add_argument("--rates", metavar="EPS,...", default="50000,100000", help="loads to repeat (50000,100000)")
    floor.add_argument("--repeats", type=int, default=4, help="runs of each load (4)")
    floor.add_argument("--seconds", type=float, default=30.0, help="length of each window (30)")
    floor.add_argument("--warmup", type=float, default=4.0, help="load before each window, not counted (4)")
    floor.add_argument("--replace", action="store_true", help="overwrite existing run folders")
    trace = _command(group, "trace", commands.trace, "show an event's way through the pipeline, hop by hop")
    trace.add_argument("run_folder", metavar="RUN", type=Path)
    which = trace.add_mutually_exclusive_group()
    which.add_argument("event", metavar="FRAME/NUMBER", nargs="?", help="the event; without one, the slowest")
    which.add_argument(
        "--slowest", type=int, metavar="N", default=1, help="the N slowest of the window, one a frame (1)"
    )
    trace.add_argument("--spans", action="store_true", help="show the recorded spans of these events' frames instead")


def _load_options(parser: Parser, *, warmup: float) -> None:
    parser.add_argument(
        "scenario", metavar="SCENARIO", type=Path, help="scenario file, for example data/scenarios/sentra.yaml"
    )
    parser.add_argument("-o", "--output", metavar="RUN", type=Path, required=True, help="run folder to write")
    rate = parser.add_mutually_exclusive_group()
    rate.add_argument("--rate", type=float, metavar="EPS", help="events per second (the scenario's)")
    rate.add_argument(
        "--steps", metavar="EPSxS,...", help="rates one after another, such as 25000x60,50000x60, warm-up included"
    )
    parser.add_argument("--arrivals", choices=("constant", "poisson"), help="arrival process (the scenario's)")
    parser.add_argument("--seconds", type=float, help="length of the measured window (60, or to the end of the steps)")
    parser.add_argument(
        "--warmup", type=float, default=warmup, help=f"load before the window, not counted ({warmup:g})"
    )
    parser.add_argument("--seed", type=int, help="seed of arrivals and keys (the scenario's)")
    parser.add_argument("--replace", action="store_true", help="overwrite an existing run folder")


def _twin(group: argparse._SubParsersAction[Parser]) -> None:
    calibrate = _command(group, "calibrate", commands.calibrate, "fit a twin to measured runs at two loads or more")
    calibrate.add_argument("run_folders", metavar="RUN", type=Path, nargs="+")
    calibrate.add_argument("-o", "--output", metavar="TWIN", type=Path, required=True, help="twin file to write")
    validate = _command(
        group, "validate", commands.validate, "compare a twin with measured runs, best with held-out ones"
    )
    validate.add_argument("twin", metavar="TWIN", type=Path)
    validate.add_argument("run_folders", metavar="RUN", type=Path, nargs="+")
    validate.add_argument(
        "-o", "--output", metavar="JSON", type=Path, help="also write the validation for the dashboard"
    )
    validate.add_argument("--hops", action="store_true", help="add the error of every hop")
    validate.add_argument(
        "--max-p95-error", type=float, metavar="FRACTION", help="exit 1 when a held-out end-to-end P95 is off by more"
    )


def _dashboard(group: argparse._SubParsersAction[Parser]) -> None:
    parser = _command(group, "dashboard", commands.dashboard, "serve the dashboard on loopback")
    parser.add_argument(
        "folder", nargs="?", type=Path, default=Path("runs"), help="folder of runs, twin and validation (runs)"
    )
    parser.add_argument("--port", type=int, default=0, help="loopback port (a free one)")
    parser.add_argument("--open", action="store_true", help="open the page in a browser")

"""The commands; each imports its part of the lab when it is called."""

from __future__ import annotations

import json
from argparse import Namespace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from sentra_sim.cli import live
from sentra_sim.errors import InputError

if TYPE_CHECKING:
    from sentra_sim.scenario import Scenario


def version_line() -> str:
    """Returns name and version of the lab."""
    return f"sentra-lab {version('sentra-lab')}"


def up(options: Namespace) -> int:
    """Starts the stack, or finds it running."""
    from sentra_sim.cli.tables import print_components

    live.start_stack(quiet=options.json, proxied=options.proxied)
    return print_components(live.load("stack").status(), as_json=options.json)


def status(options: Namespace) -> int:
    """Shows the stack; exit 1 when a component is dead."""
    from sentra_sim.cli.tables import print_components

    return print_components(live.load("stack").status(), as_json=options.json)


def down(options: Namespace) -> int:
    """Stops the stack."""
    stopped = live.load("stack").down()
    if options.json:
        print(json.dumps({"stopped": stopped}))
    else:
        print(f"stopped {', '.join(stopped)}" if stopped else "nothing was running")
    return 0


def measure(options: Namespace) -> int:
    """Records a real run."""
    from sentra_sim.cli.advise import advise
    from sentra_sim.cli.control import controlled
    from sentra_sim.cli.notices import about_run
    from sentra_sim.cli.progress import measuring
    from sentra_sim.cli.runtables import print_run
    from sentra_sim.cli.steps import window_s

    scenario = _scenario(options)
    seconds = window_s(options, scenario)
    play, notifier = live.load("measure").measure, live.load("notifier")
    rules, weights = _gateway_rules(options, scenario), _release_weights(options)
    warnings = advise(options, scenario)
    with (
        notifier.notifying(options.notify) as webhook,
        controlled(options.control, live_as=scenario) as control,
        measuring(options.warmup + seconds, quiet=options.json) as report,
    ):
        run = play(
            scenario,
            rate_eps=None,
            seconds=seconds,
            warmup_s=options.warmup,
            seed=_seed(options, scenario),
            out=options.output,
            replace=options.replace,
            ports={"gateway": options.gateway_port} if options.gateway_port is not None else None,
            progress=report,
            release_weights=weights,
            gateway_rules=rules,
            evidence=not options.no_evidence,
            plant=options.plant,
            audit=options.audit,
            telemetry=not options.no_telemetry,
            control=control.live if control else None,
            attached=[control.file] if control else (),
        )
        if notice := about_run(run):
            webhook.send(notifier.Notice(**notice))
    return print_run(run, as_json=options.json, hops=False, warnings=warnings)


def simulate(options: Namespace) -> int:
    """Writes a simulated run."""
    from sentra_sim.cli import against
    from sentra_sim.cli.advise import advise
    from sentra_sim.cli.control import controlled
    from sentra_sim.cli.runtables import print_run
    from sentra_sim.cli.steps import window_s
    from sentra_sim.engine import simulate as run_engine
    from sentra_sim.records import read_run, refuse_existing, write_run
    from sentra_sim.scenario import with_room

    scenario = _scenario(options)
    seconds = window_s(options, scenario)
    other = _other_scenario(options) if against.wanted(options) else None
    refuse_existing(options.output, replace=options.replace)
    warnings, digest = advise(options, scenario), None
    if options.twin is not None:
        from sentra_sim.twin import apply_twin, load_twin, twin_hash

        twin, digest = load_twin(options.twin), twin_hash(options.twin)
        scenario = apply_twin(twin, scenario)
        other = apply_twin(twin, other) if other else None
    if other:
        return against.compare(
            options, scenario, other, seconds=seconds, seed=_seed(options, scenario), twin=digest, warnings=warnings
        )
    if options.until_half_width is not None:
        from sentra_sim.cli.precision import replicate

        return replicate(
            options, scenario, seconds=seconds, seed=_seed(options, scenario), twin=digest, warnings=warnings
        )
    with controlled(options.control) as control:
        if control:
            warnings += control.check(scenario, options.warmup + seconds)
        tables, manifest = run_engine(
            with_room(scenario, control.control.most_workers) if control else scenario,
            seconds=seconds,
            warmup_s=options.warmup,
            seed=_seed(options, scenario),
            engine=options.engine,
            twin=digest,
            control=control.simulated if control else None,
        )
        write_run(options.output, tables, manifest, replace=options.replace, attached=[control.file] if control else ())
    return print_run(read_run(options.output), as_json=options.json, hops=False, warnings=warnings)


def kpi(options: Namespace) -> int:
    """Shows KPIs; with --enforce exit 1 on a miss."""
    from sentra_sim.cli.runtables import print_run
    from sentra_sim.kpi import breaches, kpis, step_kpis
    from sentra_sim.records import read_run

    run = read_run(options.run_folder)
    print_run(run, as_json=options.json, hops=options.hops)
    if not options.enforce:
        return 0
    missed = breaches(kpis(run)) or any(breaches(step.kpis) for step in step_kpis(run))
    return 1 if missed or not run.manifest.validity.valid else 0


def trace(options: Namespace) -> int:
    """Shows the way of one event, or of the slowest."""
    from sentra_sim.cli.waterfall import print_spans, print_waterfalls
    from sentra_sim.kpi import read_spans, slowest, waterfall
    from sentra_sim.records import read_run

    run = read_run(options.run_folder)
    ways = slowest(run, options.slowest) if options.event is None else [waterfall(run, options.event)]
    if options.spans:
        traces = {way.trace_id for way in ways}
        return print_spans([span for span in read_spans(run) if span.trace_id in traces], as_json=options.json)
    return print_waterfalls(ways, as_json=options.json)


def verify(options: Namespace) -> int:
    """Judges a measured run's evidence; exit 1 on a fault."""
    from sentra_sim.cli.verify import print_findings

    evidence = live.load("verify.evidence").load_evidence(options.run_folder)
    found = live.load("verify.judge").judge_evidence(evidence)
    return print_findings(options.run_folder, found, as_json=options.json)


def calibrate(options: Namespace) -> int:
    """Writes a twin."""
    from sentra_sim.cli.progress import working
    from sentra_sim.cli.tables import print_twin
    from sentra_sim.records import read_run
    from sentra_sim.twin import calibrate as fit
    from sentra_sim.twin import save_twin

    runs = [read_run(folder) for folder in options.run_folders]
    with working("calibrating", quiet=options.json) as report:
        twin = fit(runs, progress=report)
    save_twin(twin, options.output)
    return print_twin(twin, options.output, as_json=options.json)


def validate(options: Namespace) -> int:
    """Compares twin and runs; with --max-p95-error exit 1 when it is exceeded or cannot be told."""
    from sentra_sim.cli.progress import working
    from sentra_sim.cli.tables import print_validation
    from sentra_sim.records import read_run
    from sentra_sim.twin import save_validation
    from sentra_sim.twin import validate as compare

    runs = [read_run(folder) for folder in options.run_folders]
    with working("validating", quiet=options.json) as report:
        found = compare(options.twin, runs, progress=report)
    if options.output is not None:
        save_validation(found, options.output)
    print_validation(found, as_json=options.json, hops=options.hops)
    if options.max_p95_error is None:
        return 0
    held_out = {point.rate_eps for point in found.points if point.held_out}
    errors = [row.error for row in found.rows if row.name == "e2e_p95_s" and row.rate_eps in held_out]
    return 0 if errors and all(error is not None and abs(error) <= options.max_p95_error for error in errors) else 1


def dashboard(options: Namespace) -> int:
    """Serves the dashboard until interrupted."""
    try:
        from sentra_sim.dashboard import serve
    except ImportError as error:
        raise InputError(f"dashboard: needs {error.name}, got none; pip install 'sentra-lab[dashboard]'") from None
    serve(
        options.folder,
        port=options.port,
        show=options.open,
        on_ready=lambda url: print(f"dashboard: {url}", flush=True),
    )
    return 0


def soak(options: Namespace) -> int:
    """Shows whether a process grew."""
    from sentra_sim.cli.soak import soak as judge

    return judge(options)


def floor(options: Namespace) -> int:
    """Measures the noise floor."""
    from sentra_sim.cli.floor import floor as measure_floor

    return measure_floor(options)


def demo(options: Namespace) -> int:
    """Runs the main job."""
    from sentra_sim.cli.demo import run_demo

    return run_demo(options.folder, no_serve=options.no_serve)


def _scenario(options: Namespace) -> Scenario:
    from sentra_sim.cli.steps import parse_steps
    from sentra_sim.scenario import load_scenario, with_load

    for name in ("seconds", "warmup"):
        value = getattr(options, name)
        if value is not None and not value > 0 and not (name == "warmup" and value == 0):
            raise InputError(f"--{name}: must be positive, got {value:g}; write a length in seconds")
    return with_load(
        load_scenario(options.scenario),
        rate_eps=options.rate,
        arrivals=options.arrivals,
        steps=parse_steps(options.steps),
    )


def _other_scenario(options: Namespace) -> Scenario:
    """Returns what the scenario is compared with, under the same load options."""
    from sentra_sim.scenario.settings import with_settings

    other = _scenario(Namespace(**vars(options) | {"scenario": options.against or options.scenario}))
    return with_settings(other, options.against_set, place="--against-set") if options.against_set else other


def _gateway_rules(options: Namespace, scenario: Scenario) -> Any:
    if options.gateway_rules is None:
        return None
    return live.load("runoptions").read_gateway_rules(options.gateway_rules, scenario.load.tenants)


def _release_weights(options: Namespace) -> Any:
    return None if options.canary is None else live.load("runoptions").canary_weights(options.canary)


def _seed(options: Namespace, scenario: Scenario) -> int:
    seed: int = scenario.seed if options.seed is None else options.seed
    if seed < 0:
        raise InputError(f"--seed: must be >= 0, got {seed}; write a whole number")
    return seed

"""What a control file asks of a simulation, checked against the scenario before anything happens."""

from __future__ import annotations

from collections.abc import Iterator

from sentra_sim.control.faults import Fault
from sentra_sim.control.file import Control
from sentra_sim.control.plant import KEEP_S, Action, SetWeights, SetWorkers, Slow
from sentra_sim.control.rollout import STABLE, RolloutPolicy
from sentra_sim.control.scaledobject import HorizontalPodAutoscaler, PrometheusTrigger, ScaledObject
from sentra_sim.control.shown import scalable_stores
from sentra_sim.control.simulated import changes_of
from sentra_sim.engine.change_checks import check_change
from sentra_sim.engine.facts import has_releases
from sentra_sim.errors import InputError, SentraError
from sentra_sim.kpi import QUANTILES
from sentra_sim.scenario import ConsumerGroup, Log, Pool, Scenario, hop_edges, only, processes, with_room
from sentra_sim.scenario.complaints import nearest

Rule = ScaledObject | HorizontalPodAutoscaler

OF_A_RELEASE = ("priced_eps", "error_rate", "job_p95_s")  # a live plant alone shows these, by release


def check_control(control: Control, scenario: Scenario, *, seconds: float) -> list[str]:
    """Checks that a simulation of a scenario has all that a control file names.

    Returns:
        What to think over, a line each: what the run of `seconds` is too short for, what a simulation leaves out.

    Raises:
        InputError: the first name or value that it has not, with its place in the file.
    """
    return [
        *_defects(control, scenario),
        *_faults(control, with_room(scenario, control.most_workers), seconds),  # whom a fault is of may start later
        *_deploys(control, scenario, seconds),
        *_autoscalers(control, scenario),
        *(_rollout(control.file.rollout, control, scenario, seconds) if control.file.rollout else ()),
    ]


def check_live(control: Control, scenario: Scenario) -> None:
    """Checks that a real run of a scenario knows how to do all that a control file names.

    Raises:
        InputError: the first thing that it does not, with its place in the file.
    """
    _check_live_targets(control, scenario)
    stops = [f"{place}.action" for place, fault in control.file.named_faults() if fault.action == "stop"]
    for place in [*(["deploys"] if control.file.deploys else []), *stops]:
        what = "a rolling restart" if place == "deploys" else "stop"
        raise InputError(
            f"{control.place}: {place}: must be of a simulation, got {what} for a real run; "
            "sentra chaos --rolling-restart lets real processes end in order"
        )


def metric_names(scenario: Scenario) -> list[str]:
    """Returns the names of all that a simulated plant may show."""
    spans = [f"{span}_{quantile}_s" for span in scenario.kpis for quantile in QUANTILES]
    hops = (f"{edge.hop}_eps" for edge in hop_edges(scenario))
    plain = (
        "throughput_eps",
        "error_rate",
        "lag_events",
        "lag_s",
        "lag_partitions",
        "workers",
        "partitions",
        "cpu_cores",
    )
    stores = (f"{name}.{what}" for name in scalable_stores(scenario) for what in ("replicas", "backlog_events"))
    lanes = [lane.name for lane in only(scenario, Log)[1].lanes]
    by_lane = (f"{lane}.{name}" for lane in lanes for name in ("lag_events", "lag_s", "lag_partitions", *spans))
    return [*spans, *plain, *hops, *by_lane, *(f"{name}.cpu_cores" for name in processes(scenario)), *stores]


def _defects(control: Control, scenario: Scenario) -> Iterator[str]:
    for name, (station, _) in control.defects.items():
        if station not in scenario.stations:
            raise InputError(
                f"{control.place}: defects.{name}.station: must name a station, got {station!r}"
                f"{nearest(station, scenario.stations)}"
            )
    if control.defects and has_releases(scenario):
        yield (
            f"{control.place}: defects: should be left out where the scenario's pool has releases, "
            f"got {', '.join(control.defects)}; those of the scenario are played"
        )


def _faults(control: Control, scenario: Scenario, seconds: float) -> Iterator[str]:
    for place, fault in control.file.named_faults():
        where, end = f"{control.place}: {place}", fault.end() if fault.for_s is not None else None
        for action in (fault.begin(), *([end] if end else ())):
            _check_action(action, control, scenario, f"{where}.{fault.subject}")
        at_s = getattr(fault, "at_s", 0.0)
        if at_s >= seconds:
            yield f"{where}.at_s: should be < the run's {seconds:g} s, got {at_s:g}; it never happens: run for longer"
        yield from _left_out(fault, where)
        most = only(scenario, ConsumerGroup)[1].most_replicas
        if fault.action == "workers" and fault.count > most:
            raise InputError(
                f"{where}.count: must be at most a worker for each of the log's partitions ({most}), got {fault.count}; lower it"
            )


def _deploys(control: Control, scenario: Scenario, seconds: float) -> Iterator[str]:
    for number, deploy in enumerate(control.file.deploys):
        where = f"{control.place}: deploys.{number}"
        try:
            last_s = deploy.changes(scenario)[-1].at_s
        except SentraError as error:
            raise InputError(f"{where}: {str(error).removeprefix('rolling_restart: ')}") from None
        if last_s >= seconds:
            yield (
                f"{where}: should end within the run's {seconds:g} s, got a last start at {last_s:g} s; "
                "the restart stays unfinished: run for longer"
            )


def _check_action(action: Action, control: Control, scenario: Scenario, where: str) -> None:
    if isinstance(action, SetWorkers):
        return
    if isinstance(action, SetWeights):
        for release in action.weights:
            if release != STABLE:
                _check_release(release, control, scenario, where)
    try:
        for change in changes_of(action, 0.0, scenario, defects=control.defects):
            check_change(scenario, change)
    except SentraError as error:
        raise InputError(f"{where}: {str(error).removeprefix('plant: ')}") from None


def _left_out(fault: Fault, where: str) -> Iterator[str]:
    action = fault.begin()
    if isinstance(action, Slow) and (action.share < 1.0 or action.jitter_s > 0.0):
        key, value = ("share", action.share) if action.share < 1.0 else ("jitter_s", action.jitter_s)
        yield (
            f"{where}.{key}: should be left out in a simulation, got {value:g}; "
            f"it delays every answer by latency_s ({action.latency_s:g}) alone"
        )


def _autoscalers(control: Control, scenario: Scenario) -> Iterator[str]:
    taken: dict[str, str] = {}
    for place, rule in control.rules.items():
        target = _target(place, rule, scenario)
        if target in taken:
            raise InputError(
                f"{place}: spec.scaleTargetRef.name: must be another target than that of {taken[target]}, got both {target}"
            )
        taken[target] = place
        yield from _metrics(place, rule, scenario)


def _target(place: str, rule: Rule, scenario: Scenario) -> str:
    """Returns the name of what a rule scales, which allows so many replicas."""
    target, group = rule.spec.target, only(scenario, ConsumerGroup)[0]
    if target not in scenario.stations or target == group:
        return group
    where, stores = f"{place}: spec.scaleTargetRef.name", scalable_stores(scenario)
    if target not in stores:
        valid = ", ".join([group, *stores])
        raise InputError(
            f"{where}: must be the consumer group or a store with max_replicas, got {target!r}; valid names: {valid}"
        )
    most, bounds = stores[target].most_replicas, [rule.spec.least, rule.spec.most]
    if isinstance(rule, ScaledObject) and rule.spec.idle is not None:
        bounds.append(rule.spec.idle)
    if not 1 <= min(bounds) <= max(bounds) <= most:
        raise InputError(
            f"{where}: must be a store with room for all that the rule allows, got {min(bounds)} to {max(bounds)} of {target}, "
            f"which has 1 to {most}; raise its max_replicas, or change the rule's least and most"
        )
    return target


def _metrics(place: str, rule: Rule, scenario: Scenario) -> Iterator[str]:
    if isinstance(rule, HorizontalPodAutoscaler):
        for number, entry in enumerate(rule.spec.metrics):
            yield from _metric(
                entry.external.metric.name, scenario, f"{place}: spec.metrics.{number}.external.metric.name"
            )
        return
    for number, trigger in enumerate(rule.spec.triggers):
        if isinstance(trigger, PrometheusTrigger):
            yield from _metric(trigger.metadata.query, scenario, f"{place}: spec.triggers.{number}.metadata.query")


def _check_live_targets(control: Control, scenario: Scenario) -> None:
    group = only(scenario, ConsumerGroup)[0]
    for place, rule in control.rules.items():
        if rule.spec.target in scenario.stations and rule.spec.target != group:
            raise InputError(
                f"{place}: spec.scaleTargetRef.name: must be the consumer group on a live plant, got {rule.spec.target!r}; "
                "a simulation scales stores too"
            )


def _rollout(policy: RolloutPolicy, control: Control, scenario: Scenario, seconds: float) -> Iterator[str]:
    where = f"{control.place}: rollout"
    _check_release(policy.canary, control, scenario, f"{where}.canary")
    if policy.window_s > KEEP_S:
        raise InputError(
            f"{where}.window_s: must be at most {KEEP_S:g}, got {policy.window_s:g}; write a shorter window"
        )
    for number, gate in enumerate(policy.gates):
        yield from _metric(gate.metric, scenario, f"{where}.gates.{number}.metric")
    needed_s = policy.start_s + sum(step.hold_s for step in policy.steps)
    if needed_s > seconds:
        yield (
            f"{where}.steps: should end within the run's {seconds:g} s, got {needed_s:g} s from its start on; "
            "the rollout stays unfinished: run for longer"
        )


def _check_release(name: str, control: Control, scenario: Scenario, where: str) -> None:
    pools = [pool for pool in scenario.stations.values() if isinstance(pool, Pool) and pool.releases]
    releases = list(pools[0].releases) if pools else list(control.defects)
    if name not in releases:
        remedy = nearest(name, releases) or "; write it under defects, or as a release of a pool"
        raise InputError(f"{where}: must name a release of the simulation, got {name!r}{remedy}")


def _metric(name: str, scenario: Scenario, where: str) -> Iterator[str]:
    """Refuses a metric that no plant shows: it would decide nothing, and look held."""
    valid = metric_names(scenario)
    if name in valid:
        return
    if name.partition(".")[2] in OF_A_RELEASE:
        yield f"{where}: should be one that a simulation shows, got {name!r}; a live plant alone does: it decides nothing here"
        return
    raise InputError(f"{where}: must be a metric of the plant, got {name!r}{nearest(name, valid)}")

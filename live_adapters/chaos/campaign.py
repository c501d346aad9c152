"""Campaigns: faults one after another under load, in sessions with a fresh topic each; every session ends with the exactly-once check."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from live_adapters import stack
from live_adapters.chaos.faults import Fault, Scene, find_fault
from live_adapters.chaos.lookout import Bounds, Lookout
from live_adapters.chaos.trial import LOOK_S, RECOVER_S, SETTLE_S, Outcome, try_fault
from live_adapters.measurable import check_scenario, choose_ports
from live_adapters.pipeline import hoplog
from live_adapters.pipeline.config import RunConfig, configure
from live_adapters.pipeline.ingress.rules import GatewayRules
from live_adapters.pipeline.stores.storage import count_effects, reset_stores
from live_adapters.pipeline.telemetry.names import OBSERVER
from live_adapters.scratch import one_at_a_time, own_topics, scratch_folder
from live_adapters.session import STOP_ORDER, Session
from live_adapters.verify import verify_stores
from live_adapters.verify.collect import collect
from live_adapters.verify.judge import FAULT, Finding, judge_evidence
from sentra_sim.control.plant import Restart
from sentra_sim.errors import PlantError
from sentra_sim.scenario import Scenario, with_load
from sentra_sim.units import NS_PER_S

FAULTS_A_SESSION = 10
SECONDS_A_FAULT = 30.0  # of load, the longest that a usual fault takes; what is not needed is not played
SPARE_S = SETTLE_S + RECOVER_S  # a fault is not begun when its load might end before it
ANSWERED_S = 60.0  # for the last acknowledgements
CAUGHT_UP_S = 60.0
CONVERGED_S = 20.0
ALWAYS = 1_000_000  # restarts: in a session of faults any process may die of another's death
AVAILABLE_S = 1.0
NAMED_IDS = 5
BYSTANDERS = {"subscriber", OBSERVER}  # a client, whose position goes with it, and who watches: no part of the platform

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Account:
    """What a session's check found. `breaches`: every rule that the stores break, one line each."""

    sent_events: int
    acked_events: int
    unknown_events: int
    lost: int
    duplicates: int
    refused_duplicates: int
    dead: int
    breaches: tuple[str, ...]
    availability: float


@dataclass(frozen=True)
class Played:
    """A session: its faults and its account."""

    outcomes: tuple[Outcome, ...]
    account: Account


def run_faults(
    scenario: Scenario, names: Sequence[Fault], *, bounds: Bounds, seed: int, tell: Tell, keep_scratch: bool = False
) -> Iterator[Played]:
    """Plays faults on the running stack, `FAULTS_A_SESSION` a session, and yields each session's result.

    Args:
        scenario: The pipeline and its settings.
        names: The faults in order.
        bounds: The offered rate, and when all counts as well.
        seed: Of arrivals, keys and the faults' choices.
        tell: Gets one line per step.
        keep_scratch: Leaves hop logs and process logs in `$SENTRA_HOME/runs`.

    Raises:
        PlantError: the pipeline does not come up, or cannot be healed.
    """
    left, number = list(names), 0
    while left:
        load_s = SECONDS_A_FAULT * min(len(left), FAULTS_A_SESSION) + SPARE_S
        with scene(scenario, bounds=bounds, seed=seed + number, load_s=load_s, keep=keep_scratch) as found:
            outcomes = [_tried(found, left.pop(0), tell)]
            while left and len(outcomes) < FAULTS_A_SESSION and found.session.elapsed_s() < load_s - SPARE_S:
                outcomes.append(_tried(found, left.pop(0), tell))
            yield Played(tuple(outcomes), close(found, tell))
        number += 1


def _tried(found: Scene, fault: Fault, tell: Tell) -> Outcome:
    tell(f"{fault.name}: {fault.text}")
    outcome = try_fault(found, fault)
    took = "not recovered" if outcome.recovery_s is None else f"recovered after {outcome.recovery_s:.1f} s"
    tell(f"{fault.name} on {outcome.process}: {took}" + (f" ({outcome.felt})" if outcome.felt else ""))
    return outcome


@contextlib.contextmanager
def scene(scenario: Scenario, *, bounds: Bounds, seed: int, load_s: float, keep: bool = False) -> Iterator[Scene]:
    """A pipeline under a load that outlives the gateway, on a topic of its own, with somebody who looks at it.

    What a fault left dead of the stack is started again at the end, however it ends.
    """
    scenario = with_load(scenario, rate_eps=bounds.rate_eps, arrivals=None)
    check_scenario(scenario)
    endpoints = stack.endpoints()
    with one_at_a_time(endpoints.kafka), scratch_folder(keep) as scratch:
        config = configure(
            scenario,
            endpoints,
            choose_ports(),
            scratch,
            topic=f"events-{scratch.name}",
            seed=seed,
            load_s=load_s,
            gateway_rules=GatewayRules(drain_s=1.0),
            resend=True,
        )
        with own_topics(config):
            asyncio.run(reset_stores(config))
            with (
                _whole_again(),
                Session(config, endpoints, restarts=dict.fromkeys(STOP_ORDER, ALWAYS)) as session,
                Lookout(config, bounds) as lookout,
            ):
                session.start_load()
                yield Scene(session, lookout, random.Random(seed), bounds)


@contextlib.contextmanager
def _whole_again() -> Iterator[None]:
    try:
        yield
    finally:
        for component in stack.status():
            if not component.alive:
                stack.restart(component.name)


def close(found: Scene, tell: Tell) -> Account:
    """Ends a scene's load, waits until all of it is in effect, stops the pipeline in order and checks the stores.

    Raises:
        PlantError: the generator gets no answers any more, or a process does not end in order.
    """
    session, config = found.session, found.session.config
    tell("checking: the load ends")
    session.stop_load()
    _until(session.load_ended, ANSWERED_S, "generator: must end once everything is answered", session)
    _until(lambda: found.lookout.look().lag_events == 0, CAUGHT_UP_S, "worker: must take every record", session)
    summary = session.stop()
    known = summary.acked_events + found.poisoned
    unknown = summary.sent_events - summary.acked_events - summary.refused_events
    tell("checking: every acknowledged event in effect once")
    verdict = asyncio.run(verify_stores(config, known, unknown_events=unknown, within_s=CONVERGED_S))
    counts = asyncio.run(count_effects(config))
    evidence = asyncio.run(collect(config, sent=summary.sent_events, acked=summary.acked_events, drained=True))
    breaches = [*verdict.faults, *_broken(judge_evidence(evidence))]
    if counts["dead"] != found.poisoned:
        breaches.append(f"dead letters: must be the {found.poisoned} records that were poisoned, got {counts['dead']}")
    return Account(
        sent_events=summary.sent_events,
        acked_events=summary.acked_events,
        unknown_events=unknown,
        lost=verdict.lost,
        duplicates=max(0, verdict.doubled - unknown),
        refused_duplicates=counts["duplicates"],
        dead=counts["dead"],
        breaches=tuple(breaches),
        availability=availability(config),
    )


def _broken(findings: Iterable[Finding]) -> Iterator[str]:
    """Yields a line for each invariant that the log, played again, and the stores do not keep, with the first ids."""
    for finding in findings:
        if finding.verdict == FAULT:
            named = "; ".join(f"{offence.place}: {offence.what}" for offence in finding.ids[:NAMED_IDS])
            yield f"{finding.invariant}: {finding.detail}" + (f" ({named})" if named else "")


def _until(done: Callable[[], bool], timeout_s: float, rule: str, session: Session) -> None:
    deadline = time.monotonic() + timeout_s
    while not done():
        session.check()
        if time.monotonic() > deadline:
            raise PlantError(f"{rule}, got no end within {timeout_s:.0f} s; see the logs with --keep-scratch")
        time.sleep(LOOK_S)


def availability(config: RunConfig) -> float:
    """Returns the share of the messages that were acknowledged within `AVAILABLE_S` of the time they were due."""
    sent = hoplog.read_log(config.scratch, *hoplog.GENERATOR_MESSAGES)
    acks = hoplog.read_log(config.scratch, *hoplog.GENERATOR_ACKS)
    acks = acks[(acks["state"] == 1) & (acks["message"] < len(sent))]
    waited = acks["acked_at"] - sent["due"][acks["message"]]
    return float(np.count_nonzero(waited <= AVAILABLE_S * NS_PER_S) / len(sent)) if len(sent) else 0.0


def run_rolling_restart(
    scenario: Scenario, *, bounds: Bounds, seed: int, tell: Tell, keep_scratch: bool = False
) -> Played:
    """Restarts every process of the pipeline and of the stack in order, one after another, under load.

    Raises:
        PlantError: one does not drain, or does not come back.
    """
    components = [component.name for component in stack.status() if component.name != stack.PROXY]
    load_s = SECONDS_A_FAULT * (len(STOP_ORDER) + len(components)) + SPARE_S
    with scene(scenario, bounds=bounds, seed=seed, load_s=load_s, keep=keep_scratch) as found:
        outcomes = [_restarted(found, name, tell) for name in restart_order(found.session.pipeline(), components)]
        return Played(tuple(outcomes), close(found, tell))


def restart_order(pipeline: Iterable[str], components: Iterable[str]) -> list[str]:
    """Returns the processes of the platform in the order of a rolling restart: the pipeline's first, then the stack's."""
    return [name for name in pipeline if name not in BYSTANDERS] + list(components)


def _restarted(found: Scene, name: str, tell: Tell) -> Outcome:
    """A restart is a fault that heals itself: it ends the process in order and starts it again."""
    fault = replace(find_fault("poison"), name="restart", target=name, hold_s=0.0, inject=_leave, heal=_restart)
    return _tried(found, replace(fault, text=f"{name} ends in order and starts again"), tell)


def _leave(found: Scene, name: str) -> None:
    pass


def _restart(found: Scene, name: str) -> None:
    found.plant.apply(Restart(name))

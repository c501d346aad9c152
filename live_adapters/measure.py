"""`measure`: one real run of the pipeline on the running stack, into a run folder."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from live_adapters import stack
from live_adapters.host.processes import CpuSampler, HostUse
from live_adapters.host.speed import loop_seconds, relative_speed
from live_adapters.load import NAME as GENERATOR
from live_adapters.load import LoadSummary
from live_adapters.measurable import check_scenario, check_times, choose_ports
from live_adapters.passing import Passing
from live_adapters.pipeline.config import STABLE_ALONE, RunConfig, configure
from live_adapters.pipeline.ingress.rules import GatewayRules
from live_adapters.pipeline.planted import check_plant, disturbance
from live_adapters.pipeline.scaling import WORKER, pids_by_station
from live_adapters.pipeline.stores.storage import count_effects, end_offsets, reset_stores
from live_adapters.pipeline.telemetry.names import SPANS_FILE
from live_adapters.plant import LivePlant
from live_adapters.recording.recorder import Recording, record
from live_adapters.scratch import one_at_a_time, own_topics, scratch_folder
from live_adapters.session import Report, Session
from live_adapters.stack.folders import home
from live_adapters.validity import judge
from live_adapters.verify.collect import collect
from live_adapters.verify.evidence import Evidence
from live_adapters.watch import Progress
from sentra_sim.records import Manifest, Run, describe_machine, read_run, refuse_existing, versions, write_run
from sentra_sim.scenario import Scenario, processes, scenario_data, scenario_hash, with_load
from sentra_sim.units import NS_PER_S

Control = Callable[[LivePlant, float, float, Callable[[], bool]], None]

WORKER_RESTARTS = 3
REST_S = 2.0  # what a process burns without load is no cost of an event


@dataclass(frozen=True)
class _Played:
    """What a played load left behind, beside its hop logs."""

    summary: LoadSummary
    host: HostUse
    worker_restarts: int
    drained: bool


def measure(
    scenario: Scenario,
    *,
    rate_eps: float | None,
    seconds: float,
    warmup_s: float,
    seed: int,
    out: Path,
    replace: bool = False,
    arrivals: str | None = None,
    progress: Report | None = None,
    keep_scratch: bool = False,
    ports: Mapping[str, int] | None = None,
    release_weights: Mapping[str, float] | None = None,
    gateway_rules: GatewayRules | None = None,
    evidence: bool = True,
    plant: str = "",
    audit: bool = False,
    telemetry: bool = True,
    control: Control | None = None,
    attached: Sequence[Path] = (),
) -> Run:
    """Plays a load on the real pipeline and writes the run folder.

    Args:
        scenario: The pipeline, its settings and its load.
        rate_eps: Offered rate, events/s; None takes the scenario's.
        seconds: Length of the window that the KPIs are computed of.
        warmup_s: Load before the window, of the same stream.
        seed: Of arrivals and keys; the simulation of the same seed plays the same events.
        out: The run folder to write.
        replace: Overwrites a run folder that is there.
        arrivals: `constant` or `poisson`; None takes the scenario's.
        progress: Is told about once a second how far the run is.
        keep_scratch: Leaves hop logs and process logs in `$SENTRA_HOME/runs`.
        ports: Port by server (`gateway`, `pricing`, `fanout`, `fanout_ingest`, `gateway_control`); free ones are chosen for the rest.
        release_weights: Shares of the keys by release; None prices all with stable.
        gateway_rules: What the gateway allows; None for the defaults.
        evidence: Writes what `sentra verify` needs into the run folder.
        plant: A fault that breaks the pipeline on purpose (pipeline/planted.py); the run is not valid then.
        audit: Has a checker run beside it, which takes its share of the cores.
        telemetry: Has metrics, traces and pauses recorded; a run without tells what that costs.
        control: Acts on the plant while the load lasts. It gets the plant, how long the load has lasted and will last, and what to
            call several times a second, which tells whether the load goes on.
        attached: Files to copy into the run folder, which `control` may write.

    Raises:
        InputError: the scenario, a length, a port or the folder does not allow the run; nothing has been started.
        PlantError: the stack is not up, a process died, or a component refused; no run folder is written.
    """
    out = Path(out)
    check_times(seconds, warmup_s)
    check_plant(plant)
    scenario = with_load(scenario, rate_eps=rate_eps, arrivals=arrivals)
    check_scenario(scenario)
    refuse_existing(out, replace=replace)
    chosen = choose_ports(ports)
    endpoints = stack.endpoints()
    report = progress or (lambda _: None)
    with one_at_a_time(endpoints.kafka), scratch_folder(keep_scratch) as scratch:
        config = configure(
            scenario,
            endpoints,
            chosen,
            scratch,
            topic=f"events-{scratch.name}",
            seed=seed,
            warmup_s=warmup_s,
            load_s=warmup_s + seconds,
            release_weights=release_weights or STABLE_ALONE,
            gateway_rules=gateway_rules,
            planted=plant,
            audit=audit,
            telemetry=telemetry,
        )
        with disturbance(config, scratch / f"{GENERATOR}.ready", endpoints.pids):
            recording, manifest, found = _measure(config, endpoints, report, control, evidence=evidence)
        attached = [*attached, *(file for file in (scratch / SPANS_FILE,) if file.is_file())]
        tables = found.tables() if found else None
        write_run(out, recording.tables, manifest, replace=replace, evidence=tables, attached=attached)
        del recording  # an hour's events are over a gigabyte, and they are read back next
    return read_run(out)


def _measure(
    config: RunConfig, endpoints: stack.Endpoints, report: Report, control: Control | None, *, evidence: bool
) -> tuple[Recording, Manifest, Evidence | None]:
    report(Progress("starting", total_s=config.load_s))
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    loops = [loop_seconds()]
    with own_topics(config):
        asyncio.run(reset_stores(config))
        played = _play(config, endpoints, report, control)
        stored, ends = asyncio.run(_count(config))
        found = asyncio.run(_collect(config, played)) if evidence else None
    loops.append(loop_seconds())
    report(Progress("writing", config.load_s, config.load_s))
    recording = record(config.scratch, config.scenario, played.summary.epoch_ns, played.host, home() / "logs")
    counters = _counters(played, recording, stored, sum(ends.values()))
    speed = relative_speed(sum(loops) / len(loops), home())
    validity = judge(
        played.summary,
        recording,
        played.host,
        window_s=(config.warmup_s, config.load_s),
        counters=counters,
        drained=played.drained,
        host_speed=speed,
    )
    if plant := config.planted:
        validity = validity.model_copy(update={"valid": False, "reasons": (*validity.reasons, f"planted: {plant}")})
    manifest = Manifest(
        source="measured",
        scenario=scenario_data(config.scenario),
        scenario_hash=scenario_hash(config.scenario),
        seed=config.seed,
        rate_eps=config.scenario.load.rate_eps,
        warmup_s=config.warmup_s,
        seconds=config.load_s - config.warmup_s,
        started_at=started_at,
        versions=versions(),
        machine=describe_machine(),
        stack=endpoints.versions,
        trace_run=config.topic,
        offered_events=played.summary.offered_events,
        counters=counters,
        validity=validity,
    )
    return recording, manifest, found


async def _collect(config: RunConfig, played: _Played) -> Evidence:
    summary = played.summary
    return await collect(config, sent=summary.sent_events, acked=summary.acked_events, drained=played.drained)


async def _count(config: RunConfig) -> tuple[dict[str, int], dict[int, int]]:
    return await count_effects(config), await end_offsets(config)


def _play(config: RunConfig, endpoints: stack.Endpoints, report: Report, control: Control | None) -> _Played:
    """Starts the pipeline, plays the load, waits until all of it has arrived, and stops the pipeline in order."""
    with Session(config, endpoints, restarts={WORKER: WORKER_RESTARTS}) as session:
        sampler = CpuSampler(processes(config.scenario), lambda: pids_by_station(session.pids()))
        sampler.rest(REST_S)
        sampler.start()
        try:
            epoch_ns = session.start_load()
            if control is not None:
                _let_act(session, report, control)
            session.watch_load(report)
            drained = session.drain(report)
        finally:
            sampler.stop()
        seconds = max(math.ceil(config.load_s), int((time.monotonic_ns() - epoch_ns) // NS_PER_S))
        restarts = sum(map(session.restarts, session.workers()))
        summary = session.stop()
    return _Played(summary, sampler.use(epoch_ns, seconds), restarts, drained)


def _let_act(session: Session, report: Report, control: Control) -> None:
    plant = LivePlant(session, Passing(session.config))
    control(plant, session.elapsed_s(), session.config.load_s, lambda: session.look_after(report))


def _counters(played: _Played, recording: Recording, stored: Mapping[str, int], log_end: int) -> dict[str, int]:
    """What the run counted, of the whole load.

    `effects`: events in effect in PostgreSQL. `unread`: records of the log that no worker has taken. `lost`, `duplicates`:
    acknowledged events that are neither, and effects beyond the acknowledged. `refused_duplicates`: records known already.
    """
    acked, unread = played.summary.acked_events, log_end - stored["progress"]
    return {
        "sent": played.summary.sent_events,
        "refused": played.summary.refused_events,
        **recording.counters,
        "acked": acked,
        "effects": stored["effects"],
        "refused_duplicates": stored["duplicates"],
        "dead": stored["dead"],
        "lost": max(0, acked - stored["effects"] - stored["dead"] - unread),
        "duplicates": max(0, stored["effects"] + stored["dead"] - acked),
        "unread": unread,
        "late_stamps": recording.late_stamps,
        "worker_restarts": played.worker_restarts,
    }

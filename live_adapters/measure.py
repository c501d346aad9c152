"""`measure`: one real run of the pipeline on the running stack, into a run folder."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from live_adapters import stack
from live_adapters.hostspeed import loop_seconds, relative_speed
from live_adapters.load import NAME as GENERATOR
from live_adapters.load import SUMMARY_FILE, LoadSummary
from live_adapters.measurable import check_scenario, check_times, choose_ports
from live_adapters.pipeline.config import CONFIG_FILE, RunConfig, configure, read_config
from live_adapters.pipeline.stores.storage import count_effects, end_offsets, reset_stores
from live_adapters.pipeline.supervisor import Supervisor
from live_adapters.pipeline.telemetry.names import OBSERVER, SPANS_FILE
from live_adapters.procstat import CpuSampler, HostUse
from live_adapters.recorder import Recording, record
from live_adapters.stack.folders import home
from live_adapters.validity import judge
from live_adapters.watch import Progress, Watch
from sentra_sim.errors import PlantError
from sentra_sim.records import Manifest, Run, describe_machine, read_run, refuse_existing, versions, write_run
from sentra_sim.scenario import Scenario, processes, scenario_data, scenario_hash, with_load
from sentra_sim.units import NS_PER_S

WORKER_RESTARTS = 3
STILL_S = 10.0  # when nothing has arrived for so long, nothing more will come
DRAIN_S = 90.0  # the longest that an overloaded run is waited for
END_S = 60.0  # that the generator may end late: it waits for the acknowledgement of everything it sent
LOOK_S = 0.1
REST_S = 2.0  # what a process burns without load is no cost of an event

MODULES = {
    "pricing": "live_adapters.pipeline.pricing",
    "fanout": "live_adapters.pipeline.fanout",
    "subscriber": "live_adapters.pipeline.subscriber",
    "worker": "live_adapters.pipeline.worker",
    "gateway": "live_adapters.pipeline.gateway",
    OBSERVER: "live_adapters.pipeline.telemetry.observer",
}

Report = Callable[[Progress], None]


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

    Raises:
        InputError: the scenario, a length, a port or the folder does not allow the run; nothing has been started.
        PlantError: the stack is not up, a process died, or a component refused; no run folder is written.
    """
    out = Path(out)
    check_times(seconds, warmup_s)
    scenario = with_load(scenario, rate_eps=rate_eps, arrivals=arrivals)
    check_scenario(scenario)
    refuse_existing(out, replace=replace)
    chosen = choose_ports(ports)
    endpoints = stack.endpoints()
    report = progress or (lambda _: None)
    with _one_at_a_time(endpoints.kafka), _scratch(keep_scratch) as scratch:
        config = configure(
            scenario,
            endpoints,
            chosen,
            scratch,
            topic=f"events-{scratch.name}",
            seed=seed,
            warmup_s=warmup_s,
            load_s=warmup_s + seconds,
        )
        run = _measure(config, endpoints, report)
        attached = [file for file in (scratch / SPANS_FILE,) if file.is_file()]
        write_run(out, run[0].tables, run[1], replace=replace, attached=attached)
    return read_run(out)


def _measure(config: RunConfig, endpoints: stack.Endpoints, report: Report) -> tuple[Recording, Manifest]:
    report(Progress("starting", total_s=config.load_s))
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    loops = [loop_seconds()]
    with _topic(config):
        asyncio.run(reset_stores(config))
        played = _play(config, endpoints, report)
        stored, ends = asyncio.run(_count(config))
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
    return recording, manifest


async def _count(config: RunConfig) -> tuple[dict[str, int], dict[int, int]]:
    return await count_effects(config), await end_offsets(config)


def _play(config: RunConfig, endpoints: stack.Endpoints, report: Report) -> _Played:
    """Starts the pipeline, plays the load, waits until all of it has arrived, and stops the pipeline in order."""
    watch = Watch(config.scratch)
    with Supervisor(config.scratch, config.file) as supervisor:
        supervisor.start({name: MODULES[name] for name in ("pricing", "fanout")})
        rest = {name: MODULES[name] for name in ("subscriber", "worker", "gateway", OBSERVER)}
        supervisor.start(rest, restarts={"worker": WORKER_RESTARTS})

        def ids() -> dict[str, list[int]]:
            return {name: [pid] for name, pid in (endpoints.pids | supervisor.pids()).items()}

        sampler = CpuSampler(processes(config.scenario), ids)
        sampler.rest(REST_S)
        sampler.start()
        try:
            supervisor.start({GENERATOR: "live_adapters.load"})
            supervisor.expect_end(GENERATOR)
            epoch_ns = int((config.scratch / f"{GENERATOR}.ready").read_text(encoding="utf-8"))
            _watch_load(config, supervisor, watch, epoch_ns, report)
            drained = _drain(config, supervisor, watch, epoch_ns, report)
        finally:
            sampler.stop()
        seconds = max(math.ceil(config.load_s), int((time.monotonic_ns() - epoch_ns) // NS_PER_S))
        restarts = supervisor.restarts("worker")
        for name in (GENERATOR, "gateway", "worker", "pricing", "fanout", "subscriber", OBSERVER):
            supervisor.stop(name)
    summary = LoadSummary(**json.loads((config.scratch / SUMMARY_FILE).read_text(encoding="utf-8")))
    return _Played(summary, sampler.use(epoch_ns, seconds), restarts, drained)


def _watch_load(config: RunConfig, supervisor: Supervisor, watch: Watch, epoch_ns: int, report: Report) -> None:
    """Returns when the generator has ended: everything is sent and acknowledged."""
    told_s = 0.0
    while not supervisor.ended(GENERATOR):
        supervisor.check()
        elapsed_s = (time.monotonic_ns() - epoch_ns) / NS_PER_S
        if elapsed_s > config.load_s + END_S:
            raise PlantError(
                f"generator: must end within {END_S:.0f} s after the load, got no end; the gateway does not answer"
            )
        if elapsed_s - told_s >= 1.0:
            told_s = float(int(elapsed_s))
            report(watch.progress("warm-up" if elapsed_s < config.warmup_s else "window", elapsed_s, config.load_s))
        time.sleep(LOOK_S)
    supervisor.check()


def _drain(config: RunConfig, supervisor: Supervisor, watch: Watch, epoch_ns: int, report: Report) -> bool:
    """Waits until everything acknowledged has arrived; returns False when it stops arriving, or takes too long."""
    last, moved_at, told_at = watch.counts(), time.monotonic(), 0.0
    give_up_at = moved_at + DRAIN_S
    while not watch.drained():
        supervisor.check()
        now, counts = time.monotonic(), watch.counts()
        if counts != last:
            last, moved_at = counts, now
        if now > min(moved_at + STILL_S, give_up_at):
            return False
        if now - told_at >= 1.0:
            told_at = now
            elapsed_s = (time.monotonic_ns() - epoch_ns) / NS_PER_S
            report(watch.progress("draining", elapsed_s, config.load_s))
        time.sleep(LOOK_S)
    # The metrics' last second must be whole.
    time.sleep(max(0.0, math.ceil(config.load_s) - (time.monotonic_ns() - epoch_ns) / NS_PER_S))
    return True


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


@contextlib.contextmanager
def _topic(config: RunConfig) -> Iterator[None]:
    """Topics of the run's own, for events and for dead letters, so that no run reads another's events."""
    try:
        for topic in (config.topic, config.dead_letter_topic):
            stack.ensure_topic(config.kafka, topic, config.partitions)
        yield
    finally:
        _delete_topics(config)


def _delete_topics(config: RunConfig) -> None:
    for topic in (config.topic, config.dead_letter_topic):
        stack.delete_topic(config.kafka, topic)


@contextlib.contextmanager
def _one_at_a_time(kafka: str) -> Iterator[None]:
    """Holds the stack for one run: runs share stores and cores. Clears away what a killed run has left.

    Raises:
        PlantError: another run holds it.
    """
    runs = home() / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    file = os.open(home() / "measure.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PlantError("measure: one run at a time on a stack, got another going on; wait for its end") from None
        for left in runs.glob("*.part"):
            _clear(left, kafka)
        yield
    finally:
        os.close(file)


def _clear(left: Path, kafka: str) -> None:
    with contextlib.suppress(Exception):  # of another stack, or half-made: its topic is gone with it
        _delete_topics(replace(read_config(left / CONFIG_FILE), kafka=kafka))
    shutil.rmtree(left, ignore_errors=True)


@contextlib.contextmanager
def _scratch(keep: bool) -> Iterator[Path]:
    """The run's scratch folder; its name ends in .part while the run goes on."""
    folder = Path(tempfile.mkdtemp(prefix="", suffix=".part", dir=home() / "runs"))
    try:
        yield folder
    finally:
        if keep:
            folder.rename(folder.with_suffix(""))
            logging.getLogger(__name__).info("scratch kept in %s", folder.with_suffix(""))
        else:
            shutil.rmtree(folder, ignore_errors=True)

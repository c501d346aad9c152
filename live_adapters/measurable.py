"""Which scenarios the live pipeline can play, and the conditions of a run, checked before anything is started."""

from __future__ import annotations

import math
import socket
from collections.abc import Mapping

from sentra_sim.errors import InputError, ScenarioError
from sentra_sim.scenario import Batcher, Broadcast, ConsumerGroup, Log, Pool, Scenario, Source, Store, only

BROKERS = 3
STATIONS: dict[str, type] = {
    "generator": Source,
    "gateway": Batcher,
    "kafka": Log,
    "worker": ConsumerGroup,
    "pricing": Pool,
    "postgres": Store,
    "redis": Store,
    "clickhouse": Store,
    "fanout": Broadcast,
}
PORTS = ("gateway", "pricing", "fanout", "fanout_ingest", "gateway_control")
LOOPBACK = "127.0.0.1"


def check_scenario(scenario: Scenario) -> None:
    """Checks that the live pipeline is what the scenario describes: it has one shape, and the scenario holds its settings.

    Raises:
        ScenarioError: another shape, or settings that the live pipeline does not have.
    """
    place = scenario.name
    kinds = {name: type(station) for name, station in scenario.stations.items()}
    wrong = sorted({*kinds, *STATIONS} - {name for name, kind in kinds.items() if STATIONS.get(name) is kind})
    if wrong:
        raise ScenarioError(
            f"{place}: stations: measure plays Sentra's own pipeline ({', '.join(STATIONS)}), "
            f"got a difference in {', '.join(wrong)}; simulate this one, or start from data/scenarios/sentra.yaml"
        )
    log, group = only(scenario, Log)[1], only(scenario, ConsumerGroup)[1]
    rules: tuple[tuple[str, object, object], ...] = (
        ("kafka.brokers", log.brokers, BROKERS),
        ("kafka.replication_factor", log.replication_factor, BROKERS),
        ("kafka.acks", log.acks, "all"),
        ("kafka.lanes", tuple(lane.name for lane in log.lanes), ()),
        ("worker.calls", group.calls, ("pricing", "postgres", "redis")),
    )
    for key, got, wanted in rules:
        if got != wanted:
            raise ScenarioError(
                f"{place}: stations.{key}: must be {_plain(wanted)} for a measurement, got {_plain(got)}; "
                "the local stack has no other, simulate it"
            )
    if scenario.load.sizes is not None:
        raise ScenarioError(
            f"{place}: load.sizes: must be left out for a measurement, got {scenario.load.sizes.dist}; "
            "the generator's events have load.event_bytes, simulate it"
        )
    if group.replicas > log.partitions:
        raise ScenarioError(
            f"{place}: stations.worker.replicas: must be at most kafka.partitions ({log.partitions}), got {group.replicas}; "
            "a worker without a partition does nothing: add partitions"
        )


def check_times(seconds: float, warmup_s: float) -> None:
    """Checks the lengths of a run.

    Raises:
        InputError: the window is shorter than a second, or the warm-up is negative.
    """
    if not (math.isfinite(seconds) and seconds >= 1.0):
        raise InputError(f"seconds: must be at least 1, got {seconds:g}; a window holds whole seconds of metrics")
    if not (math.isfinite(warmup_s) and warmup_s >= 0.0):
        raise InputError(f"warmup: must be zero or more seconds, got {warmup_s:g}; write 0 for none")


def choose_ports(wanted: Mapping[str, int] | None = None) -> dict[str, int]:
    """Returns a port for every server of the pipeline: the wanted ones, and free ones for the rest.

    Raises:
        InputError: a wanted port is in use, or is none of a server of the pipeline.
    """
    wanted = dict(wanted or {})
    for name, port in wanted.items():
        if name not in PORTS:
            raise InputError(f"ports: must name a server, got {name!r}; valid names: {', '.join(PORTS)}")
        if not _bindable(port):
            raise InputError(
                f"ports.{name}: must be a free port of {LOOPBACK}, got {port}, in use; leave it out or name another"
            )
    sockets = [socket.socket() for _ in PORTS]
    try:
        for held in sockets:  # all held at once, so that no two are the same
            held.bind((LOOPBACK, 0))
        free = dict(zip(PORTS, (held.getsockname()[1] for held in sockets), strict=True))
    finally:
        for held in sockets:
            held.close()
    return free | wanted


def _bindable(port: int) -> bool:
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            held.bind((LOOPBACK, port))
        except (OSError, OverflowError):
            return False
        return True


def _plain(value: object) -> str:
    return "[" + ", ".join(map(str, value)) + "]" if isinstance(value, tuple) else str(value)

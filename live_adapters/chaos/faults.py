"""The faults: what each does to a running session, how it is taken back, and how long it is left alone in between."""

from __future__ import annotations

import asyncio
import random
import resource
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace

from aiokafka import AIOKafkaProducer

from live_adapters.chaos.lookout import Bounds, Lookout
from live_adapters.chaos.quorum import active_controller
from live_adapters.pipeline.scaling import WORKER
from live_adapters.plant import LivePlant
from live_adapters.session import Session
from sentra_sim.control.plant import Heal, Kill, Partition, Pause, Resume, Slow, Start
from sentra_sim.errors import InputError

POISON_RECORDS = 20
LAGGING_S = 9.0  # a follower leaves the replicas in sync after 5 s (replica.lag.time.max.ms), seen every 2.5 s
BROKER_HOLD_S = 4.0  # longer than the brokers' session, so that the others have to do without it
SESSION_S = 6.0  # of the worker in its group

# A role of the cluster, or the name of a process.
ROLES = ("leader", "follower", "controller")
PROCESSES = ("worker", "gateway", "pricing", "fanout", "postgres", "redis", "clickhouse")


@dataclass
class Scene:
    """What a fault works on. `poisoned`: records that were written past the gateway and must end as dead letters."""

    session: Session
    lookout: Lookout
    rng: random.Random
    bounds: Bounds
    poisoned: int = 0

    @property
    def plant(self) -> LivePlant:
        """The session under the actions of a plant."""
        return LivePlant(self.session, self.lookout)

    def process_of(self, target: str) -> str:
        """Returns the process that a target stands for now: roles of the cluster wander."""
        if target == "controller":
            return f"kafka-{asyncio.run(active_controller(self.session.config.kafka))}"
        if target == WORKER:
            return self.rng.choice(self.session.workers())
        if target in ROLES:
            return self.lookout.broker_of(target, self.rng.randrange(self.session.config.partitions))
        return target


Step = Callable[[Scene, str], None]


@dataclass(frozen=True)
class Fault:
    """A kind of fault.

    Attributes:
        name: As the command line has it.
        target: A role of the cluster or the name of a process.
        hold_s: From injection to healing.
        inject: Does it to a process.
        heal: Takes it back.
        text: One line for people.
        proxied: Needs a stack with a proxy before its brokers.
    """

    name: str
    target: str
    hold_s: float
    inject: Step
    heal: Step
    text: str
    proxied: bool = False


def _kill(scene: Scene, process: str) -> None:
    scene.plant.apply(Kill(process))


def _start_again(scene: Scene, process: str) -> None:
    scene.plant.apply(Start(process))


def _pause(scene: Scene, process: str) -> None:
    scene.plant.apply(Pause(process))


def _resume(scene: Scene, process: str) -> None:
    scene.plant.apply(Resume(process))


def _partition(*, peers: bool = False, clients: bool = False) -> Step:
    return lambda scene, process: scene.plant.apply(Partition(process, peers, clients))


def _slow(latency_s: float, jitter_s: float = 0.0, *, share: float = 1.0, peers: bool = False) -> Step:
    return lambda scene, process: scene.plant.apply(Slow(process, latency_s, jitter_s, share, peers))


def _heal(scene: Scene, process: str) -> None:
    scene.plant.apply(Heal(process))


def _fill_disk(scene: Scene, process: str) -> None:
    """Takes the right to make files any longer, as a full disk does: writes end with EFBIG instead of ENOSPC."""
    _, hard = resource.prlimit(scene.session.pids()[process], resource.RLIMIT_FSIZE)
    resource.prlimit(scene.session.pids()[process], resource.RLIMIT_FSIZE, (0, hard))


def _poison(scene: Scene, _: str) -> None:
    config = scene.session.config

    async def write() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=config.kafka, acks="all", enable_idempotence=True)
        await producer.start()
        try:
            for number in range(POISON_RECORDS):
                value = scene.rng.randbytes(scene.rng.randrange(1, 200))
                await producer.send_and_wait(config.topic, value, partition=number % config.partitions)
                scene.poisoned += 1
        finally:
            await producer.stop()

    asyncio.run(write())


def _send_twice(scene: Scene, _: str) -> None:
    scene.session.signal_generator(signal.SIGUSR1)


def _send_misordered(scene: Scene, _: str) -> None:
    scene.session.signal_generator(signal.SIGUSR2)


def _nothing(scene: Scene, _: str) -> None:
    """What needs no healing."""


def _all_faults() -> list[Fault]:
    faults = []
    for target in (*ROLES, *PROCESSES):
        hold_s = BROKER_HOLD_S if target in ROLES else 0.5
        faults.append(Fault(f"kill-{target}", target, hold_s, _kill, _start_again, f"kill -9 of the {target}"))
        faults.append(Fault(f"pause-{target}", target, 2.0, _pause, _resume, f"SIGSTOP of the {target}, then SIGCONT"))
    faults += [
        Fault(
            "zombie-worker", "worker", SESSION_S + 2.0, _pause, _resume, "the worker stopped beyond its group's session"
        ),
        Fault("disk-full", "leader", BROKER_HOLD_S, _fill_disk, _start_again, "a broker that cannot write its log"),
        Fault("poison", "topic", 0.5, _poison, _nothing, f"{POISON_RECORDS} undecodable records in the topic"),
        Fault("duplicate-ingest", "generator", 0.5, _send_twice, _nothing, "acknowledged messages sent a second time"),
        Fault(
            "misordered-ingest", "generator", 0.5, _send_misordered, _nothing, "old messages again, in a wrong order"
        ),
    ]
    return faults


def _network_faults() -> list[Fault]:
    both = _partition(peers=True, clients=True)
    lossy, late = _slow(0.2, share=0.02), _slow(0.1, 0.02)
    rows = (
        ("partition-clients", "leader", BROKER_HOLD_S, _partition(clients=True), "a leader cut off from its clients"),
        ("partition-peers", "follower", LAGGING_S, _partition(peers=True), "a follower cut off until out of sync"),
        ("partition-leader", "leader", BROKER_HOLD_S, both, "a leader cut off from clients and peers"),
        ("latency", "leader", 3.0, late, "100 ± 20 ms more for what a leader answers its clients"),
        ("loss", "leader", 3.0, lossy, "200 ms more for 2 % of it, as if sent again"),
        ("slow-peers", "leader", 3.0, _slow(0.1, peers=True), "100 ms more between a leader and its peers"),
    )
    return [Fault(name, target, hold_s, do, _heal, text, proxied=True) for name, target, hold_s, do, text in rows]


FAULTS = {fault.name: fault for fault in (*_all_faults(), *_network_faults())}


def find_fault(name: str, target: str | None = None, *, proxied: bool = True) -> Fault:
    """Returns a fault by name, with another target when one is given.

    Args:
        name: The fault's.
        target: A role or a broker in place of the fault's own target.
        proxied: Whether the stack has a proxy before its brokers.

    Raises:
        InputError: no such fault, it cannot have this target, or it needs the proxy.
    """
    fault = FAULTS.get(name)
    if fault is None:
        raise InputError(f"fault: must be one of {', '.join(FAULTS)}; got {name!r}")
    if fault.proxied and not proxied:
        raise InputError(f"{name}: must have a proxied stack, got none; run `sentra down`, then `sentra up --proxied`")
    brokers = tuple(f"kafka-{node}" for node in (1, 2, 3))
    if target is None:
        return fault
    allowed = (*ROLES, *brokers) if fault.target in ROLES else (fault.target,)
    if target not in allowed:
        raise InputError(f"--target: must be one of {', '.join(allowed)} for {name}, got {target!r}; choose one")
    return replace(fault, target=target)


def draw_schedule(count: int, seed: int, *, proxied: bool = False) -> list[str]:
    """Returns the names of a campaign's faults: every kind as often as any other, give or take one, in a seeded order.

    Those of the network are among them when the stack is proxied.
    """
    rng = random.Random(seed)
    names = [name for name, fault in FAULTS.items() if proxied or not fault.proxied]
    drawn: list[str] = []
    while len(drawn) < count:
        rng.shuffle(names)
        drawn += names
    return drawn[:count]

"""The plant as those see it who control or harm it: metrics out, actions in; a simulated and a live one look alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from sentra_sim.errors import PlantError

KEEP_S = 300.0  # the longest window that somebody may ask a plant for


@dataclass(frozen=True)
class Kill:
    """Ends a process at once; it stays down until `Start`."""

    process: str


@dataclass(frozen=True)
class Start:
    """Starts a process again that was killed, and waits until it is ready."""

    process: str


@dataclass(frozen=True)
class Restart:
    """Lets a process end in order and starts it again."""

    process: str


@dataclass(frozen=True)
class Stop:
    """Asks a process to end in order, and waits for nothing; it stays down until `Start`. Of a simulated plant only."""

    process: str


@dataclass(frozen=True)
class Pause:
    """Stops a process where it stands."""

    process: str


@dataclass(frozen=True)
class Resume:
    """Lets a paused process go on."""

    process: str


@dataclass(frozen=True)
class SetWeights:
    """Gives releases their shares of the keys."""

    weights: Mapping[str, float]


@dataclass(frozen=True)
class Partition:
    """Cuts a process off from its peers, its clients, or both, until `Heal`; it goes on by itself."""

    process: str
    peers: bool
    clients: bool


@dataclass(frozen=True)
class Slow:
    """Delays what a process answers its clients, or what it and its peers answer one another, until `Heal`.

    `share`: of the pieces that are delayed; a small one with a long latency is what retransmissions look like.
    """

    process: str
    latency_s: float
    jitter_s: float = 0.0
    share: float = 1.0
    peers: bool = False


@dataclass(frozen=True)
class Heal:
    """Takes away every partition and delay of a process."""

    process: str


@dataclass(frozen=True)
class SetWorkers:
    """Starts or stops workers until so many run."""

    count: int


@dataclass(frozen=True)
class SetReplicas:
    """Sets how many replicas of a store share its writing; of a simulated plant only."""

    store: str
    count: int


@dataclass(frozen=True)
class Burden:
    """Multiplies the CPU demands of a station, 1 for as they are; of a simulated plant only."""

    station: str
    factor: float


@dataclass(frozen=True)
class SetSpeed:
    """Gives the cores of a host another speed, 1 for the reference's; of a simulated plant only."""

    host: str
    speed: float


Action = (
    Kill
    | Start
    | Restart
    | Stop
    | Pause
    | Resume
    | SetWeights
    | Partition
    | Slow
    | Heal
    | SetWorkers
    | SetReplicas
    | Burden
    | SetSpeed
)


class Plant(Protocol):
    """A pipeline that runs.

    `metrics` returns values over the last `window_s` seconds, by name with units; what could not be measured is missing.

    | name | what |
    |---|---|
    | `<hop>_eps`, `throughput_eps` | events/s that came to a hop, such as `acked_eps`; to the last one |
    | `<span>_p50_s`, `_p95_s`, `_p99_s` | quantiles of a KPI span, such as `e2e_p95_s`, of the events that came to its end |
    | `error_rate` | share of the frames that ended otherwise than `ok` |
    | `lag_events`, `lag_s`, `lag_partitions` | acknowledged and not taken, now: events, age of the oldest, partitions with any |
    | `cpu_cores`, `<process>.cpu_cores` | cores kept busy |
    | `workers`, `partitions` | of the consumer group and its log, now |
    | `<store>.replicas`, `<store>.backlog_events` | of a store that may have more, now; events that came to it and are not visible |
    | `<release>.<name>` | the same of the frames of one release |
    """

    def metrics(self, window_s: float) -> dict[str, float]:
        """Returns what the plant shows now."""
        ...

    def apply(self, action: Action) -> None:
        """Does one action; raises PlantError when the plant cannot."""
        ...


def check_window(window_s: float) -> None:
    """Refuses a window of which a plant does not keep what passed.

    Raises:
        PlantError: the window is none, or longer than is kept.
    """
    if not 0.0 < window_s <= KEEP_S:
        raise PlantError(f"plant: window_s must be above 0 and at most {KEEP_S:.0f}, got {window_s:g}; ask for less")

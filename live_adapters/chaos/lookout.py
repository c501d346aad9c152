"""How the pipeline fares from one moment to the next: rates off the hop logs, the lag, the replicas in sync; and whether it is well."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as LateError
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from numpy.typing import NDArray

from live_adapters.pipeline import hoplog
from live_adapters.pipeline.config import RunConfig
from live_adapters.pipeline.stores.storage import count_effects
from sentra_sim.errors import PlantError

ANSWER_S = 1.0
PAST_LOOKS = 300
BEHIND_EVENTS = 2_000  # the least bound of the lag: what is under way between two commits
ACKED_SHARE, FLOW_SHARE = 0.9, 0.5  # of the offered rate; ClickHouse inserts come in lumps

T = TypeVar("T")
Log = tuple[str, str, "np.dtype[np.void]"]


@dataclass(frozen=True)
class Look:
    """One look. Rates are events/s over the last `window_s` of the bounds; None where a component did not answer.

    `ack_age_s`: how long ago the oldest message without an answer was due. `out_of_sync`: partitions of the run's topic
    with fewer than three replicas in sync.
    """

    at_s: float
    acked_eps: float
    ack_age_s: float
    delivered_eps: float
    redis_eps: float
    clickhouse_eps: float
    lag_events: int | None
    out_of_sync: int | None


@dataclass(frozen=True)
class Bounds:
    """When a pipeline counts as well: the load that it must carry, how old an unanswered message and how long the lag may be.

    Rates are taken over `window_s`, which must be longer than what comes in lumps: the linger, ClickHouse's flushes.
    """

    rate_eps: float
    window_s: float = 1.0
    ack_age_s: float = 0.5
    lag_s: float = 0.5

    @property
    def steady_s(self) -> float:
        """How long all must have been well without a break: longer than the window still remembers worse days."""
        return self.window_s + 0.2


def complaints(look: Look, bounds: Bounds) -> list[str]:
    """Returns what keeps a pipeline under a load from being well; empty when it is."""
    rate_eps = bounds.rate_eps
    found = []
    if look.acked_eps < ACKED_SHARE * rate_eps or look.ack_age_s > bounds.ack_age_s:
        found.append(f"acks: {look.acked_eps:,.0f} events/s, oldest unanswered {look.ack_age_s:.1f} s")
    for name in ("delivered", "redis", "clickhouse"):
        rate = getattr(look, f"{name}_eps")
        if rate < FLOW_SHARE * rate_eps:
            found.append(f"{name}: {rate:,.0f} events/s")
    if look.lag_events is None:
        found.append("lag: no answer")
    elif look.lag_events > max(BEHIND_EVENTS, bounds.lag_s * rate_eps):
        found.append(f"lag: {look.lag_events:,} events")
    return found


class Flow:
    """The rate of a hop: events counted in a growing hop log, over the last window."""

    def __init__(self, scratch: Path, log: Log, events: Callable[[NDArray[np.void]], int], window_s: float) -> None:
        self._tail = hoplog.LogTail(scratch, *log)
        self._events = events
        self._window_s = window_s
        self.total = 0
        self._past: deque[tuple[float, int]] = deque(maxlen=PAST_LOOKS)

    def look(self, now_s: float, window_s: float | None = None) -> float:
        """Returns events/s over the last window, the flow's own unless another is named."""
        self.total += self._events(self._tail.look())
        self._past.append((now_s, self.total))
        begin_s = now_s - (self._window_s if window_s is None else window_s)
        then_s, then = max((past for past in self._past if past[0] <= begin_s), default=self._past[0])
        return (self.total - then) / (now_s - then_s) if now_s > then_s else 0.0


def _events(rows: NDArray[np.void]) -> int:
    return int(rows["events"].sum())


def _events_in_redis(rows: NDArray[np.void]) -> int:
    return int(rows["events"][rows["redis"] > 0].sum())


class Lookout:
    """Looks at a session's pipeline. Use as a context manager: it keeps a Kafka client on a thread of its own."""

    def __init__(self, config: RunConfig, bounds: Bounds) -> None:
        self.config = config
        window_s = bounds.window_s
        self._answered = 0
        scratch = config.scratch
        self._acked = Flow(scratch, hoplog.GENERATOR_ACKS, self._acked_events, window_s)
        self._delivered = Flow(scratch, hoplog.SUBSCRIBER_DELIVERED, _events, window_s)
        self._redis = Flow(scratch, hoplog.WORKER_FRAMES, _events_in_redis, window_s)
        self._clickhouse = Flow(scratch, hoplog.CLICKHOUSE_VISIBLE, _events, window_s)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._consumer: Any = None

    def __enter__(self) -> Lookout:
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it reports each refused connection
        self._thread.start()
        self._wait(self._connect(), 15.0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(LateError, CancelledError, KafkaError):
            self._wait(self._consumer.stop(), 5.0)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5.0)
        if not self._loop.is_running():
            self._loop.close()

    def look(self, window_s: float | None = None) -> Look:
        """Looks now, at rates over the bounds' window or another; takes up to a second when components do not answer."""
        lag, out_of_sync = self._ask(self._lag_and_sync()) or (None, None)
        now_s = time.monotonic()
        acked_eps = self._acked.look(now_s, window_s)
        return Look(
            at_s=now_s,
            acked_eps=acked_eps,
            ack_age_s=self._ack_age_s(),
            delivered_eps=self._delivered.look(now_s, window_s),
            redis_eps=self._redis.look(now_s, window_s),
            clickhouse_eps=self._clickhouse.look(now_s, window_s),
            lag_events=lag,
            out_of_sync=out_of_sync,
        )

    def broker_of(self, role: str, partition: int) -> str:
        """Returns the broker that leads a partition of the run's topic (`leader`), or one that follows (`follower`).

        Raises:
            PlantError: the brokers do not tell.
        """
        found = self._ask(self._replicas(partition))
        if found is None:
            raise PlantError(
                f"kafka: must tell the leader of partition {partition}, got no answer; see `sentra status`"
            )
        leader, replicas = found
        node = leader if role == "leader" else next(broker for broker in replicas if broker != leader)
        return f"kafka-{node}"

    def _acked_events(self, rows: NDArray[np.void]) -> int:
        if len(rows):
            self._answered = int(rows["message"].max()) + 1
        acked = rows[rows["state"] == 1]
        return int((acked["last"] - acked["first"] + 1).sum())

    def _ack_age_s(self) -> float:
        """Messages are answered in order, and their due times are in the generator's log once they are sent."""
        file = self.config.scratch / "generator.messages.bin"
        if file.is_file():
            with file.open("rb") as stream:
                stream.seek(self._answered * hoplog.MESSAGES.itemsize)
                row = stream.read(hoplog.MESSAGES.itemsize)
            if len(row) == hoplog.MESSAGES.itemsize:
                due = int(np.frombuffer(row, dtype=hoplog.MESSAGES)["due"][0])
                return max(0.0, (time.monotonic_ns() - due) / 1e9)
        return 0.0

    async def _connect(self) -> None:
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=self.config.kafka,
            request_timeout_ms=int(ANSWER_S * 1e3),
            retry_backoff_ms=50,
            metadata_max_age_ms=1_000,
        )
        await self._consumer.start()
        await self._consumer._client.add_topic(self.config.topic)

    async def _lag(self) -> int:
        partitions = [TopicPartition(self.config.topic, number) for number in range(self.config.partitions)]
        ends = await self._consumer.end_offsets(partitions)
        return int(sum(ends.values())) - (await count_effects(self.config))["progress"]

    async def _lag_and_sync(self) -> tuple[int | None, int | None]:
        answers = await asyncio.gather(
            asyncio.wait_for(self._lag(), ANSWER_S),
            asyncio.wait_for(self._out_of_sync(), ANSWER_S),
            return_exceptions=True,
        )
        lag, out_of_sync = (None if isinstance(answer, BaseException) else answer for answer in answers)
        return lag, out_of_sync

    async def _metadata(self) -> Any:
        await self._consumer._client.force_metadata_update()
        return self._consumer._client.cluster

    async def _out_of_sync(self) -> int:
        cluster = await self._metadata()
        parts = cluster._partitions.get(self.config.topic, {})
        whole = sum(len(part.isr) == len(part.replicas) for part in parts.values())
        return self.config.partitions - whole

    async def _replicas(self, partition: int) -> tuple[int, list[int]]:
        part = (await self._metadata())._partitions[self.config.topic][partition]
        return part.leader, list(part.replicas)

    def _ask(self, question: Coroutine[Any, Any, T]) -> T | None:
        try:
            return self._wait(question, ANSWER_S + 0.2)
        except Exception:  # whatever a client raises while its server is down
            return None

    def _wait(self, work: Coroutine[Any, Any, T], timeout_s: float) -> T:
        future = asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, timeout_s), self._loop)
        return future.result(timeout_s + 1.0)

"""A member of the consumer group: told by the coordinator what to own, it gives up and takes over just what changed.

Heartbeats go on whatever the member is doing, so a takeover that waits for PostgreSQL does not cost it its place. A member's id
is its process' name: one that was killed and starts again takes its own place at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiokafka.errors import IncompatibleBrokerVersion, KafkaError

from live_adapters.pipeline.consumer.groupprotocol import JOIN_EPOCH, LEAVE_EPOCH, CommitRequest, HeartbeatRequest
from sentra_sim.errors import PlantError
from sentra_sim.units import MS_PER_S

RETRY_S = 0.1
LEAVE_S = 2.0
REBALANCE_MS = 30_000  # that the coordinator waits for a member to give a partition up
# Error codes of the Kafka protocol.
NO_ERROR = 0
AWAY = {14, 15, 16, 7}  # the coordinator loads, is not there, is another broker; it did not answer in time
UNKNOWN_MEMBER, FENCED = 25, 110

Ask = Callable[[Any], Awaitable[Any]]  # sends a request to the group's coordinator; KafkaError when it is away
Change = Callable[[set[int]], Awaitable[None]]

log = logging.getLogger(__name__)


class Membership:
    """One member, subscribed to one topic. `gain` and `lose` are called one at a time, each with what changed."""

    def __init__(self, group: str, member: str, topic: str, ask: Ask, *, gain: Change, lose: Change) -> None:
        self._group, self._member, self._topic, self._ask = group, member, topic, ask
        self._gain, self._lose = gain, lose
        self._epoch = JOIN_EPOCH
        self._topic_id = b""
        self._interval_s = RETRY_S
        self._meant: set[int] = set()  # to own, as the coordinator has it
        self._told: set[int] | None = None  # to the coordinator, last
        self._changed, self._beat_now = asyncio.Event(), asyncio.Event()
        self._settled = asyncio.Event()
        self._beating = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self.owned: set[int] = set()
        self.rejoined = 0

    def start(self) -> None:
        """Joins, and stays a member until `leave`."""
        self._tasks = [asyncio.create_task(work) for work in (self._heartbeats(), self._reconcile())]

    def check(self) -> None:
        """Raises what ended the membership, if something did."""
        for task in self._tasks:
            if task.done() and not task.cancelled():
                task.result()

    async def leave(self) -> None:
        """Leaves the group at once: the others need not wait for the session to end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._epoch > JOIN_EPOCH:
            with contextlib.suppress(KafkaError, OSError, TimeoutError):
                await asyncio.wait_for(self._ask(self._request(LEAVE_EPOCH, None)), LEAVE_S)

    async def confirm(self) -> None:
        """Asks the coordinator now, and returns when all that its answer changes is done."""
        await self._beat()
        await self._settled.wait()

    async def commit(self, offsets: Mapping[int, int]) -> None:
        """Tells the coordinator how far the partitions owned are; what it refuses does not matter."""
        rows: list[Any] = [
            (partition, offset, -1, "", {}) for partition, offset in offsets.items() if partition in self.owned
        ]
        if rows and self._epoch > JOIN_EPOCH:
            topic: Any = (self._topic, rows, {})
            await self._ask(CommitRequest(self._group, self._epoch, self._member, None, [topic], {}))

    async def _heartbeats(self) -> None:
        while True:
            await self._beat()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._beat_now.wait(), self._interval_s)
            self._beat_now.clear()

    async def _beat(self) -> None:
        async with self._beating:
            if self._epoch == JOIN_EPOCH:
                await self._settled_without_any()
            owned = set(self.owned)
            news = None if self._epoch != JOIN_EPOCH and owned == self._told else owned
            try:
                answer = await self._ask(self._request(self._epoch, news))
            except IncompatibleBrokerVersion as error:
                raise PlantError(f"kafka: must know the consumer group protocol, got {error}; update it") from None
            except (KafkaError, OSError, TimeoutError) as error:
                log.info("the group's coordinator must answer, got %r; tries again", error)
                self._interval_s = RETRY_S
                return
            self._told = owned if answer.error_code == NO_ERROR else None
            self._take(answer)

    def _take(self, answer: Any) -> None:
        if answer.error_code in (UNKNOWN_MEMBER, FENCED):
            log.warning("the group took this member for dead: gives partitions %s up, joins anew", sorted(self.owned))
            self._epoch, self._meant, self._interval_s = JOIN_EPOCH, set(), 0.0
            self.rejoined += 1
            self._reconsider()
            return
        if answer.error_code in AWAY:
            self._interval_s = RETRY_S
            return
        if answer.error_code != NO_ERROR:
            raise PlantError(
                f"kafka: the group must take member {self._member}, "
                f"got error {answer.error_code} ({answer.error_message}); see the brokers' logs"
            )
        self._epoch, self._interval_s = answer.member_epoch, answer.heartbeat_interval_ms / MS_PER_S
        if answer.assignment is not None:
            topics = answer.assignment[0]
            self._topic_id = topics[0][0] if topics else self._topic_id
            self._meant = {partition for _, partitions, _ in topics for partition in partitions}
            self._reconsider()

    def _reconsider(self) -> None:
        if self._meant != self.owned:
            self._settled.clear()
            self._changed.set()
        else:
            self._settled.set()

    async def _settled_without_any(self) -> None:
        """Waits, before joining, until what was owned has been given up."""
        self._reconsider()
        await self._settled.wait()

    async def _reconcile(self) -> None:
        try:
            while True:
                await self._changed.wait()
                self._changed.clear()
                await self._change()
                self._reconsider()
        finally:
            self._settled.set()  # nobody waits for one that has failed: `check` tells

    async def _change(self) -> None:
        if lost := self.owned - self._meant:
            await self._lose(lost)
            self.owned -= lost
            self._beat_now.set()  # others wait for them
        if gained := self._meant - self.owned:
            self.owned |= gained  # even if it takes long: nobody else gets them meanwhile
            await self._gain(gained)
            self._beat_now.set()

    def _request(self, epoch: int, owned: set[int] | None) -> HeartbeatRequest:
        joining = epoch == JOIN_EPOCH
        rows: list[Any] = [(self._topic_id, sorted(owned), {})] if owned else []
        return HeartbeatRequest(
            self._group,
            self._member,
            epoch,
            None,
            None,
            REBALANCE_MS if joining else -1,
            [self._topic] if joining else None,
            None,
            None,
            None if owned is None else rows,
            {},
        )

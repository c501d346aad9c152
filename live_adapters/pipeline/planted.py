"""Faults planted on purpose, to see that the checker notices: `measure --plant NAME`. Nothing else ever comes here.

A plant is a disturbance that a sound pipeline survives, and a defect that makes it do harm. `NAME-control` is the disturbance
alone, which the checker must find clean. Names joined by `+` come together.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sentra_sim.errors import InputError

if TYPE_CHECKING:
    from live_adapters.pipeline.config import RunConfig

DEDUPE_OFF, ACKS_1, EFFECTS_OUTSIDE, RELAY = "dedupe-off", "acks-1", "effects-outside", "relay-without-ids"
PLANTS = (DEDUPE_OFF, ACKS_1, EFFECTS_OUTSIDE, RELAY)
CONTROL, AND = "-control", "+"
REPEAT_EVERY, REPEAT_AFTER = 10, 50  # each tenth message is sent again, so many messages later
AFTER_POLLS = 20  # of the load, that the worker is killed or its relays are cut
BACK_OFFSETS = 300  # that a relay goes back after its connection was cut
LEADER_AFTER_S, PAUSE_S = 1.0, 0.5
IGNORE_IDS = "ignore_ids"

EFFECTS_SQL = """
INSERT INTO positions AS p (key, part, tenant, version, quantity, notional, price)
SELECT * FROM unnest($1::bigint[], $2::integer[], $3::bigint[], $4::bigint[], $5::float8[], $6::float8[], $7::float8[])
ON CONFLICT (key) DO UPDATE SET version = p.version + excluded.version, quantity = p.quantity + excluded.quantity,
    notional = p.notional + excluded.notional, price = excluded.price
"""

log = logging.getLogger(__name__)


def check_plant(name: str) -> None:
    """Checks a plant's name; an empty one is none.

    Raises:
        InputError: there is no such plant.
    """
    if name and not all(part.removesuffix(CONTROL) in PLANTS for part in name.split(AND)):
        raise InputError(
            f"plant: must be one of {', '.join(PLANTS)}, or one with {CONTROL} behind it, or some joined by {AND}, got {name!r}"
        )


def _disturbed(config: RunConfig, plant: str) -> bool:
    return _broken(config, plant) or plant + CONTROL in config.planted.split(AND)


def _broken(config: RunConfig, plant: str) -> bool:
    return plant in config.planted.split(AND)


def plant_worker(config: RunConfig) -> None:
    """Breaks this process' worker as the run's plant says."""
    if not config.planted:
        return
    from live_adapters.pipeline.consumer import poll
    from live_adapters.pipeline.stores import ledger, outbox

    log.warning("planted: %s", config.planted)
    if _broken(config, DEDUPE_OFF):
        poll.duplicates_of = lambda session, *_: np.zeros(len(session), dtype=np.bool_)
    if _disturbed(config, EFFECTS_OUTSIDE):
        _kill_between(config, ledger.Ledger)
    if _disturbed(config, RELAY):
        _cut_relay(outbox.Downstream)


def _kill_between(config: RunConfig, ledger: Any) -> None:
    """Kills the worker, once, between a poll's effects and its progress; in the control after both."""
    sound, polls = ledger.commit, iter(range(1 << 62))

    def kill() -> None:
        file = config.scratch / "planted"
        if next(polls) >= AFTER_POLLS and not file.exists():
            file.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    async def commit(self: Any, sent: Any, effects: Any) -> Any:
        if _broken(config, EFFECTS_OUTSIDE):
            columns = ("key", "partition", "tenant", "events", "quantity", "notional", "price")
            await self._connection.execute(EFFECTS_SQL, *(getattr(effects, name) for name in columns))
            kill()
            nothing = {name: np.zeros_like(getattr(effects, name)) for name in ("events", "quantity", "notional")}
            return await sound(self, sent, replace(effects, **nothing))
        written = await sound(self, sent, effects)
        kill()
        return written

    ledger.commit = commit


def _cut_relay(downstream: Any) -> None:
    """Has each relay connect anew once under load, and begin a little before where it was."""
    confirm_soundly, publish_soundly = downstream._confirm, downstream.publish
    polls: Counter[str] = Counter()

    def confirm(self: Any, line: bytes) -> dict[int, int]:
        last: dict[int, int] = confirm_soundly(self, line)
        again = polls[self.name] > AFTER_POLLS and self._writer is None
        return {partition: offset - BACK_OFFSETS for partition, offset in last.items()} if again else last

    def publish(self: Any, *poll: Any) -> None:
        publish_soundly(self, *poll)
        polls[self.name] += 1
        if polls[self.name] == AFTER_POLLS + 1:
            self._again.set()

    downstream._confirm, downstream.publish = confirm, publish


def plant_edge(config: RunConfig) -> None:
    """Breaks this process' edge: what the relay repeats is new to it."""
    if not _broken(config, RELAY):
        return
    from live_adapters.pipeline.edge import ingest

    def take(self: Any, partition: int, next_offset: int) -> bool:
        self.last[partition] = max(next_offset, self.last.get(partition, -1))
        return True

    log.warning("planted: %s", config.planted)
    ingest.Offsets.take = take  # type: ignore[method-assign]


def plant_subscriber(config: RunConfig, deliveries: Any) -> None:
    """Breaks this process' subscribers: what is sent again is new to them."""
    if _broken(config, RELAY):
        log.warning("planted: %s", config.planted)
        deliveries._new = lambda self, tenant, shares: shares


def ingest_options(config: RunConfig) -> dict[str, bool]:
    """Returns what the ClickHouse engine's server is asked for beside the usual."""
    return {IGNORE_IDS: True} if _broken(config, RELAY) else {}


def acceptor(request: Mapping[str, Any], sound: Callable[[int, int], bool]) -> Callable[[int, int], bool]:
    """Returns what tells the ClickHouse engine's server whether a frame is new."""
    return (lambda partition, offset: True) if request.get(IGNORE_IDS) is True else sound


def producer_settings(config: RunConfig) -> dict[str, Any]:
    """Returns the gateway's producer settings that differ from the sound ones."""
    return {"acks": 1, "enable_idempotence": False} if _broken(config, ACKS_1) else {}


def sent_messages(config: RunConfig, messages: Iterator[bytes]) -> Iterator[bytes]:
    """Yields the generator's messages; some of them once more, later."""
    if not _disturbed(config, DEDUPE_OFF):
        yield from messages
        return
    kept: dict[int, bytes] = {}
    for number, message in enumerate(messages):
        yield message
        if number % REPEAT_EVERY == 0:
            kept[number + REPEAT_AFTER] = message
        if number in kept:
            yield kept.pop(number)


@contextlib.contextmanager
def disturbance(config: RunConfig, ready: Path, pids: Mapping[str, int]) -> Iterator[None]:
    """Kills a broker under load while its followers cannot copy; brings it back at the end."""
    if not _disturbed(config, ACKS_1):
        yield
        return
    from live_adapters import stack

    over = threading.Event()
    brokers = sorted(name for name in pids if name.startswith("kafka-"))
    thread = threading.Thread(target=_kill_leader, args=(ready, over, [pids[name] for name in brokers]), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        stack.up()


def _kill_leader(ready: Path, over: threading.Event, brokers: list[int]) -> None:
    while not ready.exists():
        if over.wait(0.01):
            return
    if over.wait(LEADER_AFTER_S):
        return
    leader, *followers = brokers
    try:
        for pid in followers:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(PAUSE_S)
        os.kill(leader, signal.SIGKILL)
    finally:
        for pid in followers:
            os.kill(pid, signal.SIGCONT)

"""Waiting until the stack answers, and finding what of it does not."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from live_adapters.stack import _probes, topics
from live_adapters.stack._endpoints import endpoints_of
from live_adapters.stack._process import alive
from live_adapters.stack._state import Process, State
from live_adapters.stack.network import PROXY
from sentra_sim.errors import StackError

READY_TIMEOUT_S = 90.0
_ANSWER_TIMEOUT_S = 6.0
_READY_TOPIC = "sentra-ready"


async def wait_ready(home: Path, state: State, report: Callable[[str], None]) -> dict[str, str]:
    """Waits until every component answers and a topic gets all replicas in sync.

    Args:
        home: The stack's.
        state: With a process for every component.
        report: Gets a line for each component that became ready.

    Returns:
        The version that each component told.

    Raises:
        StackError: a component ended, or did not answer in time.
    """
    started, found = time.monotonic(), endpoints_of(home, state)

    async def one(name: str, probe: _probes.Probe) -> tuple[str, str]:
        version = await until_answer(home, name, state.processes[name], probe, started + READY_TIMEOUT_S)
        report(f"{name} {version} ready after {time.monotonic() - started:.1f} s")
        return name, version

    versions = dict(await asyncio.gather(*(one(name, probe) for name, probe in _probes.probes(found).items())))
    async with topics.admin(found.kafka) as client:
        await topics.ensure(client, _READY_TOPIC, 1, {}, READY_TIMEOUT_S)
        await topics.delete(client, _READY_TOPIC, READY_TIMEOUT_S)
    return versions


async def until_answer(home: Path, name: str, process: Process, probe: _probes.Probe, deadline: float) -> str:
    """Returns the version that a component tells, as soon as it does.

    Raises:
        StackError: it ended, or did not answer until `deadline` (monotonic seconds).
    """
    while True:
        try:
            return await asyncio.wait_for(probe(), _ANSWER_TIMEOUT_S)
        except Exception as error:  # each client library raises its own while a server is starting
            reason = " ".join(f"{type(error).__name__} {error}".split())
        if alive(process) is None:
            raise StackError(f"{name}: must stay up, got an end while starting: {last_words(home, name)}")
        if time.monotonic() > deadline:
            raise StackError(
                f"{name}: must answer within {READY_TIMEOUT_S:.0f} s, got {reason}; see {home / 'logs'}, then `sentra up`"
            )
        await asyncio.sleep(0.1)


async def sick_components(home: Path, state: State) -> dict[str, str]:
    """Returns the components that are dead or do not answer, each with the reason."""

    async def one(name: str, probe: _probes.Probe) -> str:
        process = state.processes.get(name)
        if process is None or alive(process) is None:
            return "is dead"
        try:
            # A broker that only misses a peer does answer.
            with contextlib.suppress(_probes.NotReadyError):
                await asyncio.wait_for(probe(), _ANSWER_TIMEOUT_S)
        except Exception:  # as above
            return "does not answer" if alive(process) else "is dead"
        return ""

    named = _probes.probes(endpoints_of(home, state))
    reasons = await asyncio.gather(*(one(name, probe) for name, probe in named.items()))
    sick = {name: reason for name, reason in zip(named, reasons, strict=True) if reason}
    if PROXY in sick:  # through it no broker can be asked: those that run are asked once it does
        return {name: why for name, why in sick.items() if why == "is dead" or not name.startswith("kafka-")}
    return sick


def last_words(home: Path, name: str) -> str:
    """Returns the last line that a component logged, and where there is more."""
    for file in (home / "logs" / f"{name}.log", home / "logs" / f"{name}.out"):
        said = [line.strip() for line in _tail(file).splitlines() if line.strip()]
        if said:
            return f"{said[-1][:200]!r}; see {file}"
    return f"it said nothing; see {home / 'logs'}"


def _tail(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, file.stat().st_size - 8192))
            return stream.read().decode(errors="replace")
    except OSError:
        return ""

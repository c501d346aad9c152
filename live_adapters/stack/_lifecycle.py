"""Bringing the stack up, telling how it is, and taking it down."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from live_adapters.stack import _kafka, _parts, _probes, _stores, topics
from live_adapters.stack._endpoints import COMPONENTS, Component, Endpoints, endpoints_of
from live_adapters.stack._home import home, locked, short_folder
from live_adapters.stack._jars import Download, ensure_jars
from live_adapters.stack._ports import free_ports, is_free
from live_adapters.stack._process import Launch, alive, end, marked, spawn
from live_adapters.stack._state import Process, State, new_state, read_state, remove_state, write_state
from sentra_sim.errors import StackError

Report = Callable[[str], None]

_READY_TIMEOUT_S = 90.0
_HEALTH_TIMEOUT_S = 6.0
# Data goes with the stack, so nothing is lost by ending hard; a broker's orderly farewell waits for peers that leave too.
_GRACE_S = 2.0
_LAUNCH_OF_STORE = {"redis", "postgres", "clickhouse"}


@dataclass(frozen=True)
class _Site:
    """What starting a component needs to know."""

    home: Path
    jars: Path
    report: Report


def up(report: Report | None = None, download: Download | None = None) -> Endpoints:
    """Brings the stack up, or finds it up: running twice is running once.

    What is dead or does not answer is started again on its port and data; if that fails, everything is started anew.
    Blocks; must not be called on a running event loop's thread.

    Args:
        report: Gets one line per step.
        download: Gets the progress of the first download (see `live_adapters.stack.progress`).

    Raises:
        StackError: a part is missing, or a component does not become ready; what had been started is stopped.
    """
    tell = report or (lambda line: None)
    folder = home()
    _parts.require_parts()
    with locked(folder):
        state = read_state(folder)
        if state and state.ready:
            sick = asyncio.run(_sick(folder, state))
            if not sick:
                return endpoints_of(folder, state)
        site = _Site(folder, ensure_jars(download), tell)
        if state and state.ready:
            with contextlib.suppress(StackError):
                return _repair(site, state, sick)
            tell("repair failed: starting everything anew")
        _sweep(folder, state)
        return _start(site)


def down(report: Report | None = None) -> list[str]:
    """Stops the stack and removes its data; a run's folder holds what matters of it. Logs stay until the next `up`.

    Returns:
        The components that were running.

    Raises:
        StackError: the state file cannot be trusted, or a process cannot be ended.
    """
    tell = report or (lambda line: None)
    folder = home()
    if not folder.is_dir():
        return []
    with locked(folder):
        stopped = _sweep(folder, read_state(folder))
    for name in stopped:
        tell(f"{name} stopped")
    return stopped


def status() -> list[Component]:
    """Returns the condition of every component; empty when the stack is not up."""
    folder = home()
    state = read_state(folder)
    return [_component(state, name) for name in COMPONENTS] if state else []


def endpoints() -> Endpoints:
    """Returns the addresses of the running stack.

    Raises:
        StackError: it is not up, or a component has died.
    """
    folder = home()
    state = read_state(folder)
    if state is None or not state.ready:
        raise StackError(f"stack: must be up, got none in {folder}; `sentra up` starts it")
    if dead := [name for name in COMPONENTS if not _component(state, name).alive]:
        raise StackError(f"stack: all components must run, got {', '.join(dead)} dead; `sentra up` repairs it")
    return endpoints_of(folder, state)


def _component(state: State, name: str) -> Component:
    process, port = state.processes.get(name), state.ports[name]
    if process is None:
        return Component(name, None, port, False, "", "not started")
    found = alive(process)
    if found is None:
        return Component(name, process.pid, port, False, process.version, "dead; `sentra up` starts it again")
    detail = f"up {_duration(time.time() - process.created_s)}" if process.version else "starting"
    with contextlib.suppress(psutil.Error):
        if found.status() == psutil.STATUS_STOPPED:
            detail = "stopped by a signal"
        detail += f", {found.memory_info().rss / 2**20:.0f} MiB"
    return Component(name, process.pid, port, True, process.version, detail)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"


def _start(site: _Site) -> Endpoints:
    """Starts everything anew. The state file goes first: whatever happens next, someone can clean up after it."""
    shutil.rmtree(site.home / "logs", ignore_errors=True)
    state = new_state(free_ports([*_kafka.port_names(), *sorted(_LAUNCH_OF_STORE)]))
    write_state(site.home, state)
    try:
        return _launch(site, state, COMPONENTS)
    except BaseException:  # Ctrl-C too
        _sweep(site.home, state)
        raise


def _repair(site: _Site, state: State, sick: dict[str, str]) -> Endpoints:
    for name, reason in sick.items():
        site.report(f"{name} {reason}: starting it again")
    _end_components(site.home, state, set(sick))
    return _launch(site, state, tuple(sick))


def _launch(site: _Site, state: State, names: tuple[str, ...]) -> Endpoints:
    """Starts components side by side and waits until the whole stack is ready."""
    started = time.monotonic()
    for name in names:
        state = state.with_process(name, spawn(site.home, _launch_of(site, state, name)))
        write_state(site.home, state)
    versions = asyncio.run(_ready(site, state))
    for name, version in versions.items():
        state = state.with_process(name, replace(state.processes[name], version=version))
    state = replace(state, ready=True)
    write_state(site.home, state)
    site.report(f"stack ready in {time.monotonic() - started:.1f} s")
    return endpoints_of(site.home, state)


def _launch_of(site: _Site, state: State, name: str) -> Launch:
    port = state.ports[name]
    if not is_free(port):
        raise StackError(f"{name}: port {port} must be free, got it in use; stop what occupies it")
    if name == "redis":
        return _stores.launch_redis(site.home, port)
    if name == "postgres":
        return _stores.launch_postgres(site.home, port, state.password)
    if name == "clickhouse":
        return _stores.launch_clickhouse(site.home, port)
    node = int(name.rpartition("-")[2])
    return _kafka.launch(site.home, state.id, state.ports, node, site.jars)


async def _ready(site: _Site, state: State) -> dict[str, str]:
    """Waits until every component answers and topics get three replicas in sync; returns the versions."""
    started, found = time.monotonic(), endpoints_of(site.home, state)

    async def one(name: str, probe: _probes.Probe) -> tuple[str, str]:
        version = await _until_answer(site.home, name, state.processes[name], probe, started + _READY_TIMEOUT_S)
        site.report(f"{name} {version} ready after {time.monotonic() - started:.1f} s")
        return name, version

    versions = dict(await asyncio.gather(*(one(name, probe) for name, probe in _probes.probes(found).items())))
    await topics.check_topic_cycle(found.kafka, _probes.READY_TOPIC, _READY_TIMEOUT_S)
    return versions


async def _until_answer(folder: Path, name: str, process: Process, probe: _probes.Probe, deadline: float) -> str:
    while True:
        try:
            return await asyncio.wait_for(probe(), _HEALTH_TIMEOUT_S)
        except Exception as error:  # each client library raises its own while a server is starting
            reason = " ".join(f"{type(error).__name__} {error}".split())
        if alive(process) is None:
            raise StackError(f"{name}: must stay up, but ended while starting: {_last_words(folder, name)}")
        if time.monotonic() > deadline:
            raise StackError(
                f"{name}: must answer within {_READY_TIMEOUT_S:.0f} s, got {reason}; see {folder / 'logs'}, then `sentra up`"
            )
        await asyncio.sleep(0.1)


async def _sick(folder: Path, state: State) -> dict[str, str]:
    """Returns the components that are dead or do not answer, each with the reason."""
    found = endpoints_of(folder, state)

    async def one(name: str, probe: _probes.Probe) -> str:
        process = state.processes.get(name)
        if process is None or alive(process) is None:
            return "is dead"
        try:
            await asyncio.wait_for(_patient(probe), _HEALTH_TIMEOUT_S)
        except Exception:  # as above
            return "does not answer"
        return ""

    named = _probes.probes(found)
    reasons = dict(zip(named, await asyncio.gather(*(one(name, probe) for name, probe in named.items())), strict=True))
    return {name: reason for name, reason in reasons.items() if reason}


async def _patient(probe: _probes.Probe) -> None:
    """Lets a broker that only misses a peer count as answering."""
    with contextlib.suppress(_probes.NotReadyError):
        await probe()


def _last_words(folder: Path, name: str) -> str:
    """Returns the last line that a component logged, and where there is more."""
    for suffix in ("log", "out"):
        file = folder / "logs" / f"{name}.{suffix}"
        if file.is_file() and (lines := file.read_text(errors="replace").split("\n")[-40:]):
            said = [line.strip() for line in lines if line.strip()]
            if said:
                return f"{said[-1][:200]!r}; see {file}"
    return f"it said nothing; see {folder / 'logs'}"


def _sweep(folder: Path, state: State | None) -> list[str]:
    """Ends every process of the home, known or only marked, and removes data and state file."""
    stopped = _end_components(folder, state, None)
    for name in COMPONENTS:
        shutil.rmtree(folder / name, ignore_errors=True)
    shutil.rmtree(short_folder(folder), ignore_errors=True)
    remove_state(folder)
    return stopped


def _end_components(folder: Path, state: State | None, names: set[str] | None) -> list[str]:
    """Ends components (None: all) and returns the names of those that ran.

    Raises:
        StackError: one outlives even SIGKILL.
    """
    running: dict[psutil.Process, str] = {}
    for name, process in (state.processes if state else {}).items():
        if found := alive(process):
            running[found] = name
    for name, processes in marked(folder).items():
        running |= dict.fromkeys(processes, name)
    chosen = {process: name for process, name in running.items() if names is None or name in names}
    end(((process, _stop_signal(name)) for process, name in chosen.items()), _GRACE_S)
    if left := [f"{name} ({process.pid})" for process, name in chosen.items() if alive_now(process)]:
        raise StackError(f"stack: {', '.join(left)} must end on SIGKILL, got no end in 10 s; try `sentra down` again")
    return sorted(set(chosen.values()), key=COMPONENTS.index)


def alive_now(process: psutil.Process) -> bool:
    """Tells whether a process found earlier still runs."""
    with contextlib.suppress(psutil.Error):
        return alive(Process(process.pid, process.create_time())) is not None
    return False


def _stop_signal(name: str) -> signal.Signals:
    return signal.SIGQUIT if name == "postgres" else signal.SIGTERM  # SIGTERM: PostgreSQL waits for its clients

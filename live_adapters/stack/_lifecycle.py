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

from live_adapters.stack import _java_cache, _kafka, _parts, _stores
from live_adapters.stack._endpoints import ALL_COMPONENTS, Component, Endpoints, components_of, endpoints_of
from live_adapters.stack._jars import Download, ensure_jars
from live_adapters.stack._ports import free_ports, wait_free
from live_adapters.stack._process import Launch, alive, end, marked, runs, spawn, wait_forgotten
from live_adapters.stack._readiness import sick_components, wait_ready
from live_adapters.stack._state import State, new_state, read_state, remove_state, write_state
from live_adapters.stack.folders import home, locked, short_folder
from live_adapters.stack.network import PROXY, launch_proxy
from sentra_sim.errors import StackError

Report = Callable[[str], None]

# Data goes with the stack, so nothing is lost by ending hard; a broker's orderly farewell waits for peers that leave too.
_GRACE_S = 2.0
_FREE_TIMEOUT_S = 3.0
_FORGOTTEN_S = 10.0
_STORES = ("postgres", "redis", "clickhouse")


@dataclass(frozen=True)
class Site:
    """What starting a component needs to know."""

    home: Path
    jars: Path
    report: Report


def up(report: Report | None = None, download: Download | None = None, *, proxied: bool = False) -> Endpoints:
    """Brings the stack up, or finds it up: running twice is running once.

    What is dead or does not answer is started again on its port and data; if that fails, everything is started anew.
    Blocks, and runs an event loop of its own: inside one, call it through `asyncio.to_thread`.

    Args:
        report: Gets one line per step.
        download: Gets the progress of the first download; `stack.progress` draws it.
        proxied: Puts a proxy before the brokers, so that their network can be harmed; a stack that is up keeps what it has.

    Raises:
        StackError: a part is missing, or a component does not become ready; what had been started is stopped. Or the
            stack is up without the proxy that is asked for.
    """
    tell = report or _silent
    folder = home()
    _parts.require_parts()
    with locked(folder, lambda: tell("waiting for another `sentra up` or `sentra down` to finish")):
        state = _known_state(folder, tell)
        if state and state.ready and proxied and PROXY not in state.ports:
            raise StackError("stack: must be down to come up with a proxy, got it up without; run `sentra down` first")
        proxied = proxied or bool(state and state.ready and PROXY in state.ports)
        sick = asyncio.run(sick_components(folder, state)) if state and state.ready else {}
        if state and state.ready and not sick:
            return endpoints_of(folder, state)
        site = Site(folder, ensure_jars(tell, download), tell)
        if state and state.ready:
            try:
                return _repair(site, state, sick)
            except StackError as error:
                tell(f"repair failed, starting everything anew: {error}")
        _sweep(folder, state)
        return _start(site, proxied=proxied)


def down(report: Report | None = None) -> list[str]:
    """Stops the stack and removes its data: a run's folder holds what matters of it. Logs stay until the next `up`.

    Returns:
        The components that were running.

    Raises:
        StackError: a process outlives SIGKILL.
    """
    tell = report or _silent
    folder = home()
    if not folder.is_dir():
        return []
    with locked(folder, lambda: tell("waiting for another `sentra up` or `sentra down` to finish")):
        stopped = _sweep(folder, _known_state(folder, tell))
    for name in stopped:
        tell(f"{name} stopped")
    return stopped


def status() -> list[Component]:
    """Returns the condition of every component; empty when the stack is not up.

    Raises:
        StackError: the state file is damaged.
    """
    state = read_state(home())
    return [_component(state, name) for name in components_of(state)] if state else []


def is_proxied() -> bool:
    """Tells whether the stack is up with a proxy before its brokers.

    Raises:
        StackError: the state file is damaged.
    """
    state = read_state(home())
    return state is not None and state.ready and PROXY in state.ports


def endpoints() -> Endpoints:
    """Returns the addresses of the running stack.

    Raises:
        StackError: it is not up, or a component has died.
    """
    folder = home()
    state = read_state(folder)
    if state is None or not state.ready:
        raise StackError(f"stack: must be up, got none in {folder}; `sentra up` starts it")
    if dead := [name for name in components_of(state) if not _component(state, name).alive]:
        raise StackError(f"stack: all components must run, got {', '.join(dead)} dead; `sentra up` repairs it")
    return endpoints_of(folder, state)


def _silent(line: str) -> None:
    pass


def _known_state(folder: Path, report: Report) -> State | None:
    """Returns the state; a damaged file is none, for processes are found by their mark too."""
    try:
        return read_state(folder)
    except StackError as error:
        report(f"{error}: going by the marks of the processes instead")
        return None


def _component(state: State, name: str) -> Component:
    process, port = state.processes.get(name), state.ports[name]
    if process is None:
        return Component(name, None, port, False, "", "not started")
    found = alive(process)
    if found is None:
        return Component(name, process.pid, port, False, process.version, "dead; `sentra up` starts it again")
    return Component(name, process.pid, port, True, process.version, _detail(found, process.created_s, process.version))


def _detail(found: psutil.Process, created_s: float, version: str) -> str:
    minutes, seconds = divmod(int(time.time() - created_s), 60)
    detail = f"up {minutes} min {seconds} s" if version else "starting"
    with contextlib.suppress(psutil.Error):
        if found.status() == psutil.STATUS_STOPPED:
            detail = "stopped by a signal"
        detail += f", {found.memory_info().rss / 2**20:.0f} MiB"
    return detail


def _start(site: Site, *, proxied: bool) -> Endpoints:
    """Starts everything anew. The state file goes first: whatever happens next, someone can clean up after it."""
    shutil.rmtree(site.home / "logs", ignore_errors=True)
    proxy_ports = [PROXY, *_kafka.proxied_port_names()] if proxied else []
    state = new_state(free_ports([*_kafka.port_names(), *_STORES, *proxy_ports]))
    write_state(site.home, state)
    try:
        _java_cache.ensure_cache(site.home, site.jars, state.ports, site.report)
        return _launch(site, state, components_of(state))
    except BaseException:  # Ctrl-C too
        _sweep(site.home, state)
        raise


def _repair(site: Site, state: State, sick: dict[str, str]) -> Endpoints:
    for name, reason in sick.items():
        site.report(f"{name} {reason}: starting it again")
    _end_components(site.home, state, set(sick))
    try:
        return _launch(site, state, tuple(sick))
    except BaseException:
        _end_components(site.home, state, set(sick))
        raise


def _launch(site: Site, state: State, names: tuple[str, ...]) -> Endpoints:
    """Starts components side by side and waits until the whole stack is ready."""
    started = time.monotonic()
    for name in names:
        state = state.with_process(name, spawn(site.home, launch_of(site, state, name)))
        write_state(site.home, state)
    versions = asyncio.run(wait_ready(site.home, state, site.report))
    for name, version in versions.items():
        state = state.with_process(name, replace(state.processes[name], version=version))
    write_state(site.home, replace(state, ready=True))
    site.report(f"stack ready in {time.monotonic() - started:.1f} s")
    return endpoints_of(site.home, state)


def launch_of(site: Site, state: State, name: str) -> Launch:
    """Returns how to start a component, once its predecessor is forgotten and its port is free."""
    if name in state.processes:
        wait_forgotten(state.processes[name], _FORGOTTEN_S)
    port = state.ports[name]
    if wait_free([port], _FREE_TIMEOUT_S):
        raise StackError(f"{name}: port {port} must be free, got it in use; stop what occupies it")
    match name:
        case "proxy":
            return launch_proxy(site.home, state.ports)
        case "redis":
            return _stores.launch_redis(site.home, port)
        case "postgres":
            return _stores.launch_postgres(site.home, port, state.password)
        case "clickhouse":
            return _stores.launch_clickhouse(site.home, port)
    node = int(name.rpartition("-")[2])
    found = _java_cache.made_cache(site.jars)
    return _kafka.launch(site.home, state.id, state.ports, node, site.jars, cache=found)


def _sweep(folder: Path, state: State | None) -> list[str]:
    """Ends every process of the home, known or only marked, and removes data and state file."""
    stopped = _end_components(folder, state, set(ALL_COMPONENTS))
    if stopped and state:
        wait_free(state.ports.values(), _FREE_TIMEOUT_S)
    for name in ALL_COMPONENTS:
        shutil.rmtree(folder / name, ignore_errors=True)
    shutil.rmtree(short_folder(folder), ignore_errors=True)
    remove_state(folder)
    return stopped


def _end_components(folder: Path, state: State | None, names: set[str]) -> list[str]:
    """Ends components and returns the names of those that ran.

    Raises:
        StackError: one outlives even SIGKILL.
    """
    found = {process: name for name, processes in marked(folder).items() for process in processes}
    for name, known in (state.processes if state else {}).items():
        if process := alive(known):
            found[process] = name
    chosen = {process: name for process, name in found.items() if name in names}
    end(((process, _stop_signal(name)) for process, name in chosen.items()), _GRACE_S)
    if left := [f"{name} ({process.pid})" for process, name in chosen.items() if runs(process)]:
        raise StackError(f"stack: {', '.join(left)} must end on SIGKILL, got no end in 10 s; try `sentra down` again")
    return sorted(set(chosen.values()), key=ALL_COMPONENTS.index)


def _stop_signal(name: str) -> signal.Signals:
    return signal.SIGQUIT if name == "postgres" else signal.SIGTERM  # SIGTERM: PostgreSQL waits for its clients

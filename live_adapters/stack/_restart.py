"""One component started again on its port and data, while the others run on."""

from __future__ import annotations

import asyncio
import signal
import time
from dataclasses import replace

from live_adapters.stack import _lifecycle, _probes
from live_adapters.stack._endpoints import ALL_COMPONENTS, Endpoints, components_of, endpoints_of
from live_adapters.stack._jars import ensure_jars
from live_adapters.stack._process import alive, end, spawn
from live_adapters.stack._readiness import READY_TIMEOUT_S, until_answer
from live_adapters.stack._state import read_state, write_state
from live_adapters.stack.folders import home, locked
from sentra_sim.errors import StackError

_ORDERLY_S = 20.0  # a broker hands its partitions over, PostgreSQL writes its checkpoint
# SIGINT: PostgreSQL ends its clients' transactions and shuts down whole; SIGTERM would wait for the clients.
_REQUESTS = {"postgres": signal.SIGINT}


def restart(component: str, *, orderly: bool = False) -> Endpoints:
    """Ends a component if it still runs, and starts it again with its data; returns once it answers.

    Blocks, and runs an event loop of its own. The state file gets the new process, so that `down` ends it too.

    Args:
        component: `kafka-1` to `kafka-3`, `postgres`, `redis`, `clickhouse`; `proxy` of a proxied stack.
        orderly: Asks it to end and gives it time; otherwise it is killed.

    Raises:
        StackError: no such component, no stack, or it does not become ready.
    """
    if component not in ALL_COMPONENTS:
        raise _unknown(component, ALL_COMPONENTS)
    folder = home()
    with locked(folder):
        state = read_state(folder)
        if state is None or not state.ready:
            raise StackError(f"stack: must be up, got none in {folder}; `sentra up` starts it")
        if component not in components_of(state):
            raise _unknown(component, components_of(state))
        if running := alive(state.processes[component]):
            request = _REQUESTS.get(component, signal.SIGTERM) if orderly else signal.SIGKILL
            end([(running, request)], _ORDERLY_S)
        site = _lifecycle.Site(folder, ensure_jars(_silent), _silent)
        version = state.processes[component].version
        process = replace(spawn(folder, _lifecycle.launch_of(site, state, component)), version=version)
        state = state.with_process(component, process)
        write_state(folder, state)
        found = endpoints_of(folder, state)
        deadline = time.monotonic() + READY_TIMEOUT_S
        asyncio.run(until_answer(folder, component, process, _probes.probes(found)[component], deadline))
        return found


def _unknown(component: str, valid: tuple[str, ...]) -> StackError:
    return StackError(f"stack: must have a component {component!r}, got none; valid names: {', '.join(valid)}")


def _silent(_: str) -> None:
    pass

"""Free ports on the loopback interface."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Iterable, Sequence

from sentra_sim.errors import StackError

# Below the range from which systems take the ports of outgoing connections: a port taken from there might be lent to a
# client between two starts of a component.
_RANGE = range(15000, 32000)


def free_ports(names: Sequence[str]) -> dict[str, int]:
    """Chooses a free port for each name, all distinct.

    Raises:
        StackError: too few ports can be bound.
    """
    ports: dict[str, int] = {}
    for port in random.SystemRandom().sample(_RANGE, 50 * len(names)):
        if len(ports) == len(names):
            break
        if is_free(port):
            ports[names[len(ports)]] = port
    if len(ports) < len(names):
        raise StackError(f"127.0.0.1: {len(names)} free ports are needed, got {len(ports)}; stop what occupies them")
    return ports


def wait_free(ports: Iterable[int], timeout_s: float) -> list[int]:
    """Waits until ports can be bound and returns those that cannot.

    A killed process is gone for its parent before its last thread has let go of its sockets.
    """
    deadline = time.monotonic() + timeout_s
    while (taken := [port for port in ports if not is_free(port)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return taken


def is_free(port: int) -> bool:
    """Tells whether a server could listen on the port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True

"""The network of a proxied stack: which ways lead to and from each broker, and how they are cut, slowed and healed."""

from __future__ import annotations

import json
import sys
import urllib.request
from pathlib import Path
from typing import Any

from live_adapters.stack import _kafka
from live_adapters.stack._process import Launch
from sentra_sim.errors import InputError, PlantError
from sentra_sim.units import MS_PER_S

PROXY = "proxy"
_ANSWER_S = 5.0
_NO_PROXY = urllib.request.ProxyHandler({})  # the environment's way to the world is none to the loopback


def launch_proxy(home: Path, ports: dict[str, int]) -> Launch:
    """Returns how to start the proxy before the brokers: a way for the clients of each, and one for each pair of peers."""
    ways = []
    for node in _kafka.BROKERS:
        name, peers = _kafka.broker_name(node), ports[_kafka.peers_name(node)]
        ways.append(f"{name}={ports[_kafka.clients_name(node)]}:{ports[name]}")
        for other in _kafka.BROKERS:
            if other != node:
                ways.append(
                    f"{_way(_kafka.broker_name(other), name)}={_kafka.peer_address(other, node)}:{peers}:{peers}"
                )
    command = [sys.executable, "-m", "live_adapters.chaos.proxy", "--control", str(ports[PROXY]), *ways]
    return Launch(PROXY, command, home / PROXY, home / "logs" / f"{PROXY}.log")


def ways_of(broker: str, *, peers: bool, clients: bool) -> list[str]:
    """Returns the proxy's names of the ways to a broker, of peers the ways from it as well.

    Raises:
        InputError: it is no broker.
    """
    brokers = [_kafka.broker_name(node) for node in _kafka.BROKERS]
    if broker not in brokers:
        raise InputError(f"network: the proxy stands before {', '.join(brokers)}, got {broker!r}; choose one of them")
    between = [pair for other in brokers if other != broker for pair in ((other, broker), (broker, other))]
    return [broker] * clients + [_way(source, target) for source, target in between] * peers


def _way(source: str, target: str) -> str:
    return f"{source}-to-{target}"


class Network:
    """The proxy of a running stack, through its REST interface at a loopback port."""

    def __init__(self, port: int) -> None:
        self._root = f"http://127.0.0.1:{port}/proxies"
        self._opener = urllib.request.build_opener(_NO_PROXY)

    def cut(self, broker: str, *, peers: bool, clients: bool) -> None:
        """Resets the connections on a broker's ways, and refuses new ones."""
        for way in ways_of(broker, peers=peers, clients=clients):
            self._ask("POST", f"/{way}", {"enabled": False})

    def slow(self, broker: str, latency_s: float, jitter_s: float = 0.0, *, share: float = 1.0, peers: bool) -> None:
        """Delays a share of the chunks of bytes that a broker answers its clients, or that it and its peers answer."""
        toxic = {
            "type": "latency",
            "toxicity": share,
            "attributes": {"latency": round(latency_s * MS_PER_S), "jitter": round(jitter_s * MS_PER_S)},
        }
        for way in ways_of(broker, peers=peers, clients=not peers):
            self._ask("POST", f"/{way}/toxics", toxic)

    def heal(self, broker: str) -> None:
        """Opens all of a broker's ways and takes away what slows them."""
        harmed = self.harmed()
        for way in ways_of(broker, peers=True, clients=True):
            for toxic in harmed.get(way, ()):
                self._ask("DELETE", f"/{way}/toxics/{toxic}")
            if way in harmed:
                self._ask("POST", f"/{way}", {"enabled": True})

    def heal_all(self) -> None:
        """Heals every broker."""
        for node in _kafka.BROKERS:
            self.heal(_kafka.broker_name(node))

    def harmed(self) -> dict[str, list[str]]:
        """Returns the names of the toxics by way, of the ways that are cut or have some."""
        told = json.loads(self._ask("GET", ""))
        return {
            name: [toxic["name"] for toxic in way["toxics"]]
            for name, way in told.items()
            if way["toxics"] or not way["enabled"]
        }

    def _ask(self, method: str, path: str, data: dict[str, Any] | None = None) -> bytes:
        body = None if data is None else json.dumps(data).encode()
        request = urllib.request.Request(self._root + path, body, method=method)
        try:
            with self._opener.open(request, timeout=_ANSWER_S) as answer:
                return bytes(answer.read())
        except OSError as error:
            raise PlantError(
                f"proxy: {method} {request.full_url} must be answered, got {error}; `sentra up` starts it again"
            ) from error

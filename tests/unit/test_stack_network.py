"""A proxied stack without its processes: how brokers find each other, which ways a proxy takes, how they are harmed."""

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from live_adapters import stack
from live_adapters.chaos.proxy import Proxy, parse_proxy, serve
from live_adapters.stack import _kafka, _probes
from live_adapters.stack._endpoints import ALL_COMPONENTS, COMPONENTS, components_of, endpoints_of
from live_adapters.stack._ports import free_ports
from live_adapters.stack._readiness import sick_components
from live_adapters.stack._state import Process, new_state, write_state
from live_adapters.stack.network import PROXY, Network, launch_proxy, ways_of
from sentra_sim.cli import main
from sentra_sim.errors import InputError, PlantError, StackError

NAMES = [PROXY, "postgres", "redis", "clickhouse", *_kafka.port_names(), *_kafka.proxied_port_names()]
PORTS = {name: 20_000 + number for number, name in enumerate(NAMES)}
BARE = {name: port for name, port in PORTS.items() if name not in {PROXY, *_kafka.proxied_port_names()}}


def settings(folder: Path, ports: dict[str, int], node: int) -> dict[str, str]:
    _kafka.launch(folder, "stack", ports, node, folder / "jars")
    lines = (folder / f"kafka-{node}" / "server.properties").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if not line.startswith("#"))


def hosts(folder: Path, node: int) -> dict[str, str]:
    lines = (folder / f"kafka-{node}" / "hosts").read_text().splitlines()
    return {name: address for address, name in (line.split() for line in lines)}


def test_a_proxied_broker_tells_its_clients_the_proxy_and_its_peers_a_name(tmp_path: Path) -> None:
    bare, proxied = settings(tmp_path / "bare", BARE, 2), settings(tmp_path, PORTS, 2)
    changed = {name for name in proxied if name != "log.dirs" and proxied[name] != bare[name]}
    assert changed == {
        "listeners",
        "advertised.listeners",
        "inter.broker.listener.name",
        "listener.security.protocol.map",
    }
    assert not (tmp_path / "bare" / "kafka-2" / "hosts").exists()
    clients, peers = PORTS["kafka-2-clients"], PORTS["kafka-2-peers"]
    assert proxied["advertised.listeners"] == f"PLAINTEXT://127.0.0.1:{clients},REPLICATION://kafka-2:{peers}"
    assert f"PLAINTEXT://127.0.0.1:{PORTS['kafka-2']},REPLICATION://127.0.0.1:{peers}," in proxied["listeners"]
    assert proxied["inter.broker.listener.name"] == "REPLICATION"


def test_every_broker_finds_every_other_at_an_address_where_the_proxy_knows_who_comes(tmp_path: Path) -> None:
    ways = {proxy.name: proxy for proxy in map(parse_proxy, launch_proxy(tmp_path, PORTS).command[5:])}
    assert len(ways) == 9
    for node in _kafka.BROKERS:
        settings(tmp_path, PORTS, node)
        own, found = f"kafka-{node}", hosts(tmp_path, node)
        assert (found[own], found["localhost"]) == ("127.0.0.1", "127.0.0.1")
        for other in {"kafka-1", "kafka-2", "kafka-3"} - {own}:
            way = ways[f"{own}-to-{other}"]
            assert (way.host, way.listen_port) == (found[other], PORTS[f"{other}-peers"])
            assert way.upstream_port == PORTS[f"{other}-peers"]
        assert (ways[own].listen_port, ways[own].upstream_port) == (PORTS[f"{own}-clients"], PORTS[own])
    assert len({(proxy.host, proxy.listen_port) for proxy in ways.values()}) == 9


def test_a_broker_is_cut_off_from_clients_from_peers_in_both_directions_or_from_both() -> None:
    peers = ["kafka-1-to-kafka-2", "kafka-2-to-kafka-1", "kafka-3-to-kafka-2", "kafka-2-to-kafka-3"]
    assert ways_of("kafka-2", peers=False, clients=True) == ["kafka-2"]
    assert ways_of("kafka-2", peers=True, clients=False) == peers
    assert ways_of("kafka-2", peers=True, clients=True) == ["kafka-2", *peers]
    with pytest.raises(InputError, match="the proxy stands before kafka-1, kafka-2, kafka-3, got 'redis'"):
        ways_of("redis", peers=True, clients=True)


def test_a_proxied_stack_has_one_component_more_and_clients_are_sent_through_it(tmp_path: Path) -> None:
    bare, proxied = new_state(BARE), new_state(PORTS)
    assert components_of(bare) == COMPONENTS
    assert components_of(proxied) == ALL_COMPONENTS == (PROXY, *COMPONENTS)
    direct, through = endpoints_of(tmp_path, bare), endpoints_of(tmp_path, proxied)
    assert direct.proxy is None
    assert direct.kafka == ",".join(f"127.0.0.1:{PORTS[f'kafka-{node}']}" for node in (1, 2, 3))
    assert through.kafka == ",".join(f"127.0.0.1:{PORTS[f'kafka-{node}-clients']}" for node in (1, 2, 3))
    assert through.proxy == stack.Address("127.0.0.1", PORTS[PROXY])


def test_a_stack_that_is_up_without_the_proxy_is_left_alone_and_the_remedy_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SENTRA_HOME", str(tmp_path))
    gone = dict.fromkeys(COMPONENTS, Process(1, 0.0))
    write_state(tmp_path, replace(new_state(BARE), ready=True, processes=gone))
    assert not stack.is_proxied()
    with pytest.raises(StackError, match="stack: must be down to come up with a proxy, got it up without; run"):
        stack.up(proxied=True)
    with pytest.raises(
        StackError, match=r"must have a component 'proxy', got none; valid names: kafka-1, .*clickhouse$"
    ):
        stack.restart(PROXY)
    assert main(["up", "--proxied", "--json"]) == 3
    assert capsys.readouterr().err.count("\n") == 1

    write_state(tmp_path, replace(new_state(PORTS), ready=True, processes=gone))
    assert stack.is_proxied()
    assert [component.name for component in stack.status()] == list(ALL_COMPONENTS)
    with pytest.raises(StackError, match=r"got proxy, kafka-1, .* dead"):
        stack.endpoints()


def test_ways_left_cut_have_the_proxy_started_again_and_no_broker_that_only_hides_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def answer() -> str:
        return "1"

    async def refuse() -> str:
        raise ConnectionRefusedError

    def sick(*silent: str) -> dict[str, str]:
        found = {name: refuse if name in silent else answer for name in ALL_COMPONENTS}
        monkeypatch.setattr(_probes, "probes", lambda _: found)
        return asyncio.run(sick_components(tmp_path, state))

    here = Process(os.getpid(), psutil.Process().create_time())
    running = dict.fromkeys(ALL_COMPONENTS, here) | {"kafka-3": Process(1, 0.0)}
    state = replace(new_state(PORTS), ready=True, processes=running)
    assert sick("kafka-1") == {"kafka-1": "does not answer", "kafka-3": "is dead"}
    assert sick(PROXY, "kafka-1", "redis") == {
        PROXY: "does not answer",
        "redis": "does not answer",
        "kafka-3": "is dead",
    }


@contextmanager
def running_proxy() -> Iterator[tuple[Network, dict[str, Proxy]]]:
    port = free_ports([PROXY])[PROXY]
    proxies = {name: Proxy(name, 0, port) for name in ("kafka-1", "kafka-2", "kafka-3")}
    pairs = [(one, other) for one in tuple(proxies) for other in tuple(proxies) if one != other]
    proxies |= {f"{one}-to-{other}": Proxy(f"{one}-to-{other}", 0, port) for one, other in pairs}
    loop, ready, stop = asyncio.new_event_loop(), threading.Event(), asyncio.Event()

    async def until() -> None:
        ready.set()
        await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve(proxies, port, until)))
    thread.start()
    assert ready.wait(10)
    try:
        yield Network(port), proxies
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


def test_ways_are_cut_slowed_and_healed_through_the_rest_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # the way to the world, which leads nowhere
    with running_proxy() as (network, proxies):
        assert network.harmed() == {}
        network.cut("kafka-1", peers=False, clients=True)
        assert set(network.harmed()) == {"kafka-1"}
        network.slow("kafka-2", 0.1, 0.02, share=0.5, peers=True)
        (toxic,) = proxies["kafka-2-to-kafka-3"].toxics.values()
        assert (toxic.type, toxic.toxicity, toxic.attributes) == ("latency", 0.5, {"latency": 100, "jitter": 20})
        assert len(network.harmed()) == 5
        network.heal("kafka-2")
        assert network.harmed() == {"kafka-1": []}
        network.heal_all()
        assert network.harmed() == {}
        assert all(proxy.enabled for proxy in proxies.values())


def test_a_proxy_that_does_not_answer_is_one_line() -> None:
    with pytest.raises(PlantError, match=r"proxy: GET http://127.0.0.1:\d+/proxies must be answered, got .*refused"):
        Network(free_ports([PROXY])[PROXY]).harmed()

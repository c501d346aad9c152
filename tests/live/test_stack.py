"""The stack's life: up, used, wounded, repaired, down. In a home of its own, for it is killed here."""

import asyncio
import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest
import redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from live_adapters import stack
from live_adapters.stack import _kafka, topics
from live_adapters.stack._jars import jar_folder
from live_adapters.stack._java_cache import made_cache
from live_adapters.stack._process import marked
from live_adapters.stack._state import FILE, read_state
from sentra_sim.errors import StackError

pytestmark = pytest.mark.live

COMPONENTS = ["kafka-1", "kafka-2", "kafka-3", "postgres", "redis", "clickhouse"]
UP = "from live_adapters import stack; print('READY', sorted(stack.up(print).pids.items()), flush=True)"


@contextlib.contextmanager
def own_home(folder: Path) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENTRA_HOME", str(folder))
        try:
            yield folder
        finally:
            stack.down()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with own_home(tmp_path_factory.mktemp("wounded")) as folder:
        yield folder


@pytest.fixture(scope="module")
def running(home: Path) -> stack.Endpoints:
    return stack.up(print)


def wait_for(condition: Callable[[], object], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.01)


def start_up() -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", UP], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def kill(component: str, how: signal.Signals) -> None:
    os.kill(stack.endpoints().pids[component], how)


async def send_and_take(bootstrap: str, topic: str) -> bytes:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True) as producer:
        await producer.send_and_wait(topic, b"filled", partition=4)
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, group_id="reader", auto_offset_reset="earliest")
    async with consumer:
        message = await asyncio.wait_for(consumer.getone(), 30)
    assert message.partition == 4
    return bytes(message.value)


def test_three_brokers_take_and_give_a_record_with_every_replica_in_sync(running: stack.Endpoints) -> None:
    stack.ensure_topic(running.kafka, "orders", 6)

    async def seen() -> tuple[set[int], list[int]]:
        async with topics.admin(running.kafka) as client:
            partitions = (await client.describe_topics(["orders"]))[0]["partitions"]
            return await topics.brokers_seen(running.kafka), [len(part["isr"]) for part in partitions]

    assert asyncio.run(seen()) == ({1, 2, 3}, [3] * 6)
    assert asyncio.run(send_and_take(running.kafka, "orders")) == b"filled"


def test_a_topic_made_anew_is_empty_and_another_number_of_partitions_is_refused(running: stack.Endpoints) -> None:
    stack.recreate_topic(running.kafka, "orders", 6)

    async def end() -> int:
        from aiokafka import TopicPartition

        async with AIOKafkaConsumer(bootstrap_servers=running.kafka) as consumer:
            return sum((await consumer.end_offsets([TopicPartition("orders", part) for part in range(6)])).values())

    assert asyncio.run(end()) == 0
    with pytest.raises(StackError, match="topic orders: must have 3 partitions, got 6"):
        stack.ensure_topic(running.kafka, "orders", 3)


def test_the_stores_answer_by_tcp_and_by_socket(running: stack.Endpoints) -> None:
    async def select(dsn: str) -> object:
        connection = await asyncpg.connect(dsn)
        try:
            return await connection.fetchval("SELECT 1")
        finally:
            await connection.close()

    assert asyncio.run(select(running.postgres_dsn)) == asyncio.run(select(running.postgres_socket_dsn)) == 1
    with redis.Redis(running.redis.host, running.redis.port) as by_tcp:
        by_tcp.set("key", "value")
    with redis.Redis(unix_socket_path=str(running.redis_socket)) as by_socket:
        assert by_socket.get("key") == b"value"
    with socket.create_connection((running.clickhouse.host, running.clickhouse.port)) as client:
        client.sendall(b'{"query": "SELECT 1"}\n')
        with client.makefile() as lines:
            assert lines.readline() == '{"rows": [[1]]}\n'
    with pytest.raises(asyncpg.InvalidPasswordError):
        asyncio.run(select(running.postgres_dsn.replace("sentra:", "sentra:x")))


def test_up_twice_is_up_once(running: stack.Endpoints) -> None:
    said: list[str] = []
    assert stack.up(said.append) == running == stack.endpoints()
    assert said == []


@pytest.mark.skipif(sys.platform != "linux", reason="SCHED_IDLE is Linux's")
def test_the_merging_store_yields_its_cores_to_everything_else(running: stack.Endpoints) -> None:
    threads = psutil.Process(running.pids["clickhouse"]).threads()
    assert {os.sched_getscheduler(thread.id) for thread in threads} == {os.SCHED_IDLE}


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere psutil does not tell what a process has mapped")
def test_brokers_share_one_class_cache(running: stack.Endpoints) -> None:
    cache = made_cache(jar_folder())
    assert cache
    for node in (1, 2, 3):
        assert str(cache) in {found.path for found in psutil.Process(running.pids[f"kafka-{node}"]).memory_maps()}


def test_java_does_without_a_class_cache_of_which_a_byte_has_changed(running: stack.Endpoints, tmp_path: Path) -> None:
    def start(cache: Path, *options: str) -> int:
        script = _kafka.launch(tmp_path, "stack", dict.fromkeys(_kafka.port_names(), 1), 1, jar_folder(), cache=cache)
        words = shlex.split(script.command[-1].splitlines()[-1])
        words = words[1 : words.index("kafka.Kafka")]
        command = [*words, *options, "--version"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode

    whole = made_cache(jar_folder())
    assert whole
    data = bytearray(whole.read_bytes())
    data[len(data) // 2] ^= 0xFF
    damaged = tmp_path / "damaged.aot"
    damaged.write_bytes(data)
    (tmp_path / "logs").mkdir()
    assert (start(whole, "-XX:AOTMode=on"), start(damaged, "-XX:AOTMode=on"), start(damaged)) == (0, 1, 0)


def test_dead_and_hung_components_are_told_and_repaired_with_their_data(running: stack.Endpoints) -> None:
    stack.ensure_topic(running.kafka, "kept", 3)
    kill("kafka-2", signal.SIGKILL)
    os.kill(running.pids["clickhouse"], signal.SIGKILL)
    os.kill(running.pids["redis"], signal.SIGSTOP)
    wait_for(lambda: sum(not component.alive for component in stack.status()) == 2)
    wait_for(lambda: psutil.Process(running.pids["redis"]).status() == psutil.STATUS_STOPPED)

    told = {component.name: component for component in stack.status()}
    assert [name for name in COMPONENTS if not told[name].alive] == ["kafka-2", "clickhouse"]
    assert told["kafka-2"].detail == "dead; `sentra up` starts it again"
    assert told["redis"].detail.startswith("stopped by a signal")
    with pytest.raises(StackError, match=r"got kafka-2, clickhouse dead; `sentra up` repairs it"):
        stack.endpoints()

    said: list[str] = []
    repaired = stack.up(said.append)
    print(*said, sep="\n")
    assert [line for line in said if "again" in line] == [
        "redis does not answer: starting it again",
        "clickhouse is dead: starting it again",
        "kafka-2 is dead: starting it again",
    ]
    assert (repaired.stack_id, repaired.kafka, repaired.redis) == (running.stack_id, running.kafka, running.redis)
    changed = {name for name in COMPONENTS if repaired.pids[name] != running.pids[name]}
    assert changed == {"kafka-2", "clickhouse", "redis"}
    stack.ensure_topic(repaired.kafka, "kept", 3)  # would be refused, or made anew, had the brokers lost it
    assert asyncio.run(send_and_take(repaired.kafka, "orders")) == b"filled"


def test_down_leaves_no_process_no_port_and_no_data(running: stack.Endpoints, home: Path) -> None:
    state = read_state(home)
    assert state
    family = [psutil.Process(process.pid) for process in state.processes.values()]
    family += [child for process in family for child in process.children(recursive=True)]
    os.kill(stack.endpoints().pids["kafka-3"], signal.SIGSTOP)  # a component that does not listen goes too

    assert stack.down() == COMPONENTS
    assert [process for process in family if process.is_running() and process.status() != "zombie"] == []
    for port in state.ports.values():
        with socket.socket() as client:
            assert client.connect_ex(("127.0.0.1", port)) != 0
    assert {path.name for path in home.iterdir()} == {"logs", "stack.lock"}
    assert stack.down() == []
    assert stack.status() == []


def test_ctrl_c_in_the_middle_of_up_stops_what_it_had_started(tmp_path: Path) -> None:
    with own_home(tmp_path) as home:
        starting = start_up()
        wait_for(lambda: len(marked(home)) == len(COMPONENTS))
        starting.send_signal(signal.SIGINT)
        _, error = starting.communicate(timeout=30)
        assert starting.returncode != 0
        assert "KeyboardInterrupt" in error
        assert marked(home) == {}
        assert not (home / FILE).exists()


def test_after_a_killed_up_two_at_once_bring_up_one_stack(tmp_path: Path) -> None:
    with own_home(tmp_path) as home:
        killed = start_up()
        wait_for(lambda: len(marked(home)) >= 3)
        killed.kill()
        killed.communicate()
        left = [process for processes in marked(home).values() for process in processes]
        assert left
        with pytest.raises(StackError, match="must be up"):
            stack.endpoints()

        both = [start_up(), start_up()]
        answers = [process.communicate(timeout=120) for process in both]
        assert [process.returncode for process in both] == [0, 0], answers
        told = {line for out, _ in answers for line in out.splitlines() if line.startswith("READY")}
        assert told == {f"READY {sorted(stack.endpoints().pids.items())}"}
        assert "waiting for another" in "".join(out for out, _ in answers)
        assert not [process for process in left if process.is_running() and process.status() != "zombie"]

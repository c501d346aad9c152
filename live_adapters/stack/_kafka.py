"""KRaft brokers, three of them or one alone, each broker and controller in one process."""

from __future__ import annotations

import shlex
import socket
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path

from live_adapters.stack import _parts
from live_adapters.stack._process import Launch

BROKERS = (1, 2, 3)
# A class cache fits only a Java that is started with the options with which it was made.
JVM_OPTIONS = (
    "-Xms512m",
    "-Xmx512m",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",  # as Kafka's own start script has it
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.awt.headless=true",
    "--sun-misc-unsafe-memory-access=allow",  # else Java 25 warns of how Kafka unmaps its files
)

_CONFIG = """\
process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
{listeners}
log.dirs={data}
auto.create.topics.enable=false
default.replication.factor={replicas}
min.insync.replicas={in_sync}
unclean.leader.election.enable=false
offsets.topic.replication.factor={replicas}
offsets.topic.num.partitions=6
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
transaction.state.log.num.partitions=6
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.num.partitions=6
num.network.threads=2
num.io.threads=3
background.threads=2
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.session.timeout.ms=3000
group.consumer.min.session.timeout.ms=1000
group.consumer.heartbeat.interval.ms=500
group.consumer.min.heartbeat.interval.ms=100
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
controller.quorum.fetch.timeout.ms=1000
controller.quorum.election.timeout.ms=500
replica.lag.time.max.ms=5000
leader.imbalance.check.interval.seconds=10
log.segment.bytes=67108864
# Without these, a load of 50,000 events/s at replication 3 fills a disk within hours.
log.retention.bytes=268435456
log.retention.check.interval.ms=10000
log.segment.delete.delay.ms=1000
"""

_LISTENERS = """\
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT"""

# Clients are told the proxy's port. Peers are told a name, which each of them resolves to an address of its own.
_PROXIED_LISTENERS = """\
listeners=PLAINTEXT://127.0.0.1:{port},REPLICATION://127.0.0.1:{peers},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{clients},REPLICATION://kafka-{node}:{peers}
inter.broker.listener.name=REPLICATION
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,REPLICATION:PLAINTEXT,CONTROLLER:PLAINTEXT"""

_QUIET = "-Xlog:aot*=off"  # of every class that it cannot keep, and of a cache that it does not take
# Checksums, which Java compares only when told to, cost 10 ms; a changed byte could otherwise end a broker.
_CACHE_OPTIONS = ("-XX:AOTMode=auto", "-XX:+VerifySharedSpaces", _QUIET)


def broker_name(node: int) -> str:
    """Returns the component name of a broker."""
    return f"kafka-{node}"


def controller_name(node: int) -> str:
    """Returns the name under which a node's controller port is kept."""
    return f"kafka-{node}-controller"


def clients_name(node: int) -> str:
    """Returns the name under which the port is kept at which a proxy takes a broker's clients."""
    return f"kafka-{node}-clients"


def peers_name(node: int) -> str:
    """Returns the name under which the port is kept at which a broker, and a proxy for each peer, takes its peers."""
    return f"kafka-{node}-peers"


def port_names() -> list[str]:
    """Returns the names of the ports that the cluster needs."""
    return [name(node) for node in BROKERS for name in (broker_name, controller_name)]


def proxied_port_names() -> list[str]:
    """Returns the names of the ports that it needs besides when a proxy stands before its brokers."""
    return [name(node) for node in BROKERS for name in (clients_name, peers_name)]


def peer_address(source: int, node: int) -> str:
    """Returns the loopback address at which one broker finds another behind the proxy: connections tell who makes them."""
    return f"127.0.0.{10 * source + node}"


def launch(
    home: Path,
    stack_id: str,
    ports: dict[str, int],
    node: int,
    jars: Path,
    *,
    cache: Path | None = None,
    record: Path | None = None,
) -> Launch:
    """Writes a broker's configuration and returns how to start it; formats its data folder first, when there is none.

    Args:
        home: The stack's.
        stack_id: The cluster's id is made of it.
        ports: The stack's; the cluster is as large as it has ports of controllers.
        node: The broker's number.
        jars: The folder of Kafka's class path.
        cache: Java's class cache, which Java does without if it does not fit or is damaged.
        record: Where the broker writes such a cache when it ends in order.
    """
    name = broker_name(node)
    folder = home / name
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "server.properties"
    config.write_text(_config(folder / "data", ports, node))
    java = [str(_parts.java()), "-cp", f"{jars}/*", *JVM_OPTIONS]
    if cache:
        java += [f"-XX:AOTCache={cache}", *_CACHE_OPTIONS]
    broker = [*java, *_options(home / "logs", name)]
    if record:
        broker += [f"-XX:AOTCacheOutput={record}", _QUIET]
    if peers_name(node) in ports:
        hosts = folder / "hosts"
        hosts.write_text(_hosts(node))
        broker.append(f"-Djdk.net.hosts.file={hosts}")
    format_data = [*java, _LOG_OPTION, "-XX:TieredStopAtLevel=1", "kafka.tools.StorageTool", "format"]
    format_data += ["--cluster-id", _cluster_id(stack_id), "--config", str(config)]
    script = (
        f"[ -f {shlex.quote(str(folder / 'data' / 'meta.properties'))} ] || {shlex.join(format_data)} || exit 1\n"
        f"exec {shlex.join([*broker, 'kafka.Kafka', str(config)])}"
    )
    return Launch(
        name=name,
        command=["/bin/sh", "-c", script],
        folder=folder,
        log=home / "logs" / f"{name}.out",
    )


_LOG_OPTION = f"-Dlog4j2.configurationFile={Path(__file__).with_name('log4j2.properties')}"


def _options(logs: Path, name: str) -> list[str]:
    return [
        # `timenanos` is the clock of the hop logs.
        f"-Xlog:gc*,safepoint:file={logs}/{name}.gc.log:timenanos,tags:filecount=3,filesize=8m",
        f"-Dsentra.log={logs}/{name}.log",
        _LOG_OPTION,
    ]


def _config(data: Path, ports: dict[str, int], node: int) -> str:
    nodes = [other for other in BROKERS if controller_name(other) in ports]
    voters = ",".join(f"{other}@127.0.0.1:{ports[controller_name(other)]}" for other in nodes)
    names = {"port": broker_name, "controller": controller_name, "clients": clients_name, "peers": peers_name}
    own = {key: ports[name(node)] for key, name in names.items() if name(node) in ports}
    listeners = (_PROXIED_LISTENERS if "peers" in own else _LISTENERS).format(node=node, **own)
    replicas, in_sync = len(nodes), min(2, len(nodes))
    return _CONFIG.format(node=node, voters=voters, data=data, listeners=listeners, replicas=replicas, in_sync=in_sync)


def _hosts(node: int) -> str:
    """Returns a broker's hosts file; Java asks no other source of names then."""
    found = {"localhost": "127.0.0.1", socket.gethostname(): "127.0.0.1", broker_name(node): "127.0.0.1"}
    found |= {broker_name(other): peer_address(node, other) for other in BROKERS if other != node}
    return "".join(f"{address} {name}\n" for name, address in found.items())


def _cluster_id(stack_id: str) -> str:
    """Returns the stack's Kafka cluster id: 16 bytes in URL-safe base 64, as `StorageTool random-uuid` makes them.

    It never starts with a dash, which the tool would take for an option.
    """
    first, *others = uuid.uuid5(uuid.NAMESPACE_OID, stack_id).bytes
    return urlsafe_b64encode(bytes([first & 0x7F, *others])).decode().rstrip("=")

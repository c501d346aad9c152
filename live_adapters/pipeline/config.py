"""What every process of a live run is told: written once by `measure`, read by each process at its start."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from live_adapters.pipeline.ingress.rules import GatewayRules, parse_rules, rules_data
from live_adapters.pipeline.tokens import new_secret
from sentra_sim.errors import InputError
from sentra_sim.scenario import ConsumerGroup, Log, Scenario, only, parse_scenario, scenario_data

if TYPE_CHECKING:
    from live_adapters.stack import Endpoints

CONFIG_FILE = "config.json"
STABLE_ALONE = {"stable": 1.0}
RELEASES = Path(__file__).parents[2] / "data" / "releases"


@dataclass(frozen=True)
class RunConfig:
    """A live run: its load, the stack's addresses, the free loopback ports of its servers, its scratch folder.

    `load_s` is warm-up plus window, seconds. Servers listen on `host`: `fanout_port` serves subscribers,
    `fanout_ingest_port` the worker, `gateway_control_port` the gateway's REST control (0: none).
    The subscriber process opens `subscribers` connections, which share the tenants.
    Pricing starts with `release_weights`, the releases' shares of the keys; other releases lie in the folder `releases`.
    With `resend` the generator outlives the gateway: it keeps every message until its acknowledgement.
    `edge_secret` signs the tokens with which tenants are read; it is the run's own.
    `planted` names a fault that breaks the pipeline on purpose (planted.py); empty for none. `audit` has a checker run beside it.
    Without `telemetry` no process serves metrics or notes its pauses, and nobody observes.
    """

    scenario: Scenario
    seed: int
    warmup_s: float
    load_s: float
    topic: str
    kafka: str  # bootstrap servers, comma-separated
    postgres_dsn: str
    redis_host: str
    redis_port: int
    clickhouse_host: str
    clickhouse_port: int
    gateway_port: int
    pricing_port: int
    fanout_port: int
    fanout_ingest_port: int
    scratch: Path
    host: str = "127.0.0.1"
    subscribers: int = 4
    release_weights: Mapping[str, float] = field(default_factory=lambda: dict(STABLE_ALONE))
    releases: Path = RELEASES
    edge_secret: str = field(default_factory=new_secret, repr=False)
    gateway_control_port: int = 0
    gateway_rules: GatewayRules = field(default_factory=GatewayRules)
    resend: bool = False
    planted: str = ""
    audit: bool = False
    telemetry: bool = True

    @property
    def file(self) -> Path:
        """Where the configuration lies for the processes to read."""
        return self.scratch / CONFIG_FILE

    @property
    def partitions(self) -> int:
        """Partitions of the topic."""
        return only(self.scenario, Log)[1].partitions

    @property
    def dead_letter_topic(self) -> str:
        """The Kafka topic that takes the records put aside, each in the partition that it came from."""
        return f"{self.topic}-dlq"

    @property
    def group(self) -> str:
        """Kafka's consumer group, after the scenario's station."""
        return f"{self.topic}-{only(self.scenario, ConsumerGroup)[0]}"


def configure(
    scenario: Scenario,
    endpoints: Endpoints,
    ports: Mapping[str, int],
    scratch: Path,
    *,
    topic: str,
    seed: int = 1,
    warmup_s: float = 0.0,
    load_s: float = 1.0,
    release_weights: Mapping[str, float] = STABLE_ALONE,
    gateway_rules: GatewayRules | None = None,
    resend: bool = False,
    planted: str = "",
    audit: bool = False,
    telemetry: bool = True,
) -> RunConfig:
    """Returns the configuration of a run on a stack, and writes it into the run's scratch folder.

    Args:
        scenario: The pipeline, its settings and its load.
        endpoints: The stack; the stores that have a Unix socket are reached through it, which costs less CPU.
        ports: By server, as `measurable.choose_ports` returns them.
        scratch: The run's folder for hop logs and process logs.
        topic: The run's Kafka topic.
        seed: Of arrivals and keys.
        warmup_s: Load before the window, s.
        load_s: Warm-up plus window, s.
        release_weights: Shares of the keys by release that pricing starts with; they can be changed while it runs.
        gateway_rules: What the gateway allows; None for the defaults.
        resend: The generator keeps every message until its acknowledgement.
        planted: A fault that breaks the pipeline on purpose.
        audit: A checker runs beside it.
        telemetry: Metrics, traces and the record of pauses; without, to learn what they cost.
    """
    config = RunConfig(
        scenario=scenario,
        seed=seed,
        warmup_s=warmup_s,
        load_s=load_s,
        topic=topic,
        kafka=endpoints.kafka,
        postgres_dsn=endpoints.postgres_socket_dsn,
        redis_host=str(endpoints.redis_socket),
        redis_port=endpoints.redis.port,
        clickhouse_host=endpoints.clickhouse.host,
        clickhouse_port=endpoints.clickhouse.port,
        gateway_port=ports["gateway"],
        pricing_port=ports["pricing"],
        fanout_port=ports["fanout"],
        fanout_ingest_port=ports["fanout_ingest"],
        scratch=scratch,
        release_weights=release_weights,
        gateway_control_port=ports["gateway_control"],
        gateway_rules=gateway_rules or GatewayRules(),
        resend=resend,
        planted=planted,
        audit=audit,
        telemetry=telemetry,
    )
    write_config(config)
    return config


def write_config(config: RunConfig) -> Path:
    """Writes the configuration into the run's scratch folder, for its owner alone to read, and returns the file."""
    data = {each.name: getattr(config, each.name) for each in dataclasses.fields(config)}
    data |= {
        "scenario": scenario_data(config.scenario),
        "scratch": str(config.scratch),
        "releases": str(config.releases),
        "gateway_rules": rules_data(config.gateway_rules),
    }
    config.file.touch(mode=0o600)
    config.file.chmod(0o600)  # one that was there before keeps the mode it had
    config.file.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    return config.file


def read_config(file: str | Path) -> RunConfig:
    """Reads a configuration back.

    Raises:
        ScenarioError: the scenario in it breaks a rule of the schema.
        InputError: the file cannot be read or lacks a setting.
    """
    try:
        data = json.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: must be a run's configuration, got {error}; name one from write_config") from None
    try:
        data |= {"scenario": parse_scenario(data["scenario"], place=str(file))}
        data |= {name: Path(data[name]) for name in ("scratch", "releases")}
        data["gateway_rules"] = parse_rules(data["gateway_rules"])
        return RunConfig(**data)
    except (KeyError, TypeError) as error:
        raise InputError(f"{file}: must hold every setting of RunConfig, got {error}; start the run again") from None

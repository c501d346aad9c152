"""What every process of one run reads: `<scratch>/config.json`, written once by whoever starts the run."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import (
    BaseModel,
    ConfigDict,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
)

from sentra_sim.errors import InputError
from sentra_sim.scenario import ConsumerGroup, Log, Scenario, only

CONFIG_NAME = "config.json"


class PipelineConfig(BaseModel):
    """One run's scenario, addresses and times; loopback addresses throughout.

    `scratch` holds the hop logs, the ready files and this configuration. `redis_address` is a path of a Unix socket or
    `host:port`. `fanout_port` serves WebSocket subscribers, `fanout_ingest_port` the worker.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scenario: Scenario
    scratch: Path
    kafka_bootstrap: str
    topic: str
    postgres_dsn: str
    redis_address: str
    clickhouse_host: str = "127.0.0.1"
    clickhouse_port: PositiveInt
    gateway_port: PositiveInt
    pricing_port: PositiveInt
    fanout_port: PositiveInt
    fanout_ingest_port: PositiveInt
    subscribers: PositiveInt = 4  # WebSocket connections of the subscriber process; they share the tenants
    seed: NonNegativeInt = 1
    warmup_s: NonNegativeFloat = 0.0
    seconds: PositiveFloat = 60.0

    @property
    def partitions(self) -> int:
        """Partitions of the topic."""
        return only(self.scenario, Log)[1].partitions

    @property
    def group(self) -> str:
        """Kafka's consumer group, named by the scenario's station."""
        return f"{self.topic}-{only(self.scenario, ConsumerGroup)[0]}"


def write_config(config: PipelineConfig) -> Path:
    """Writes `<scratch>/config.json` whole or not at all; returns its path."""
    config.scratch.mkdir(parents=True, exist_ok=True)
    file = config.scratch / CONFIG_NAME
    part = file.with_suffix(".part")
    part.write_text(config.model_dump_json(by_alias=True, indent=1) + "\n", encoding="utf-8")
    os.replace(part, file)
    return file


def load_config(path: str | Path) -> PipelineConfig:
    """Reads a configuration back.

    Raises:
        InputError: the file is missing or not a pipeline configuration.
    """
    path = Path(path)
    try:
        return PipelineConfig.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read, {error.strerror}; give --config a file written by write_config"
        ) from None
    except ValidationError as error:
        found = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in found["loc"]) or "file"
        raise InputError(
            f"{path}: {where}: {found['msg']}, got {found.get('input')!r:.80}; start the run again"
        ) from None

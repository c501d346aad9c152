"""KEDA's ScaledObject and Kubernetes' HorizontalPodAutoscaler, read from the YAML that a cluster takes.

Defaults are those of KEDA 2.17 (`apis/keda/v1alpha1/scaledobject_types.go`, `pkg/scalers/kafka_scaler.go`). What is about the way to a
cluster (addresses, credentials) is read and has no meaning here: the plant takes their place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, JsonValue, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from pydantic import model_validator as validator

from sentra_sim.control.document import Block, parse, read_document
from sentra_sim.control.hpa import Behavior
from sentra_sim.errors import InputError

SUFFIXES = {"m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30}
UNPLAYED = {
    "excludePersistentLag": "trigger",
    "partitionLimitation": "trigger",
    "ensureEvenDistributionOfPartitions": "trigger",
    "fallback": "ScaledObject",
    "scalingModifiers": "ScaledObject",
    "resource": "HorizontalPodAutoscaler",
    "containerResource": "HorizontalPodAutoscaler",
    "targetCPUUtilizationPercentage": "HorizontalPodAutoscaler",
}

CPU_TARGETS = ("resource", "containerResource", "targetCPUUtilizationPercentage")

Metadata = dict[str, JsonValue]


def quantity(value: object) -> object:
    """Returns a Kubernetes quantity such as `500m` or `2k` as a number; leaves alone what is none.

    >>> quantity("500m")
    0.5
    """
    found = (
        re.fullmatch(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(m|k|M|G|Ki|Mi|Gi|)", value) if isinstance(value, str) else None
    )
    return float(found[1]) * SUFFIXES[found[2]] if found else value


Quantity = Annotated[PositiveFloat, BeforeValidator(quantity)]


class KafkaMetadata(Block):
    """A trigger on a consumer group's lag."""

    bootstrapServers: str = ""  # noqa: N815 - the file's own names, as all below
    consumerGroup: str = ""  # noqa: N815
    topic: str = ""
    version: str = ""
    tls: str = ""
    sasl: str = ""
    unsafeSsl: bool = False  # noqa: N815
    offsetResetPolicy: Literal["latest", "earliest"] = "latest"  # noqa: N815
    scaleToZeroOnInvalidOffset: bool = False  # noqa: N815 - a plant's group has an offset from its start
    lag_threshold: Annotated[PositiveInt, Field(alias="lagThreshold")] = 10
    activation: Annotated[NonNegativeInt, Field(alias="activationLagThreshold")] = 0
    allow_idle: Annotated[bool, Field(alias="allowIdleConsumers")] = False
    with_lag: Annotated[bool, Field(alias="limitToPartitionsWithLag")] = False

    @validator(mode="after")
    def _one_limit(self) -> Self:
        if self.allow_idle and self.with_lag:
            raise ValueError("must not set allowIdleConsumers and limitToPartitionsWithLag together")
        return self


class PrometheusMetadata(Block):
    """A trigger on a metric of the plant: `query` is its name."""

    serverAddress: str = ""  # noqa: N815
    namespace: str = ""
    query: Annotated[str, Field(pattern=r"^[a-zA-Z_][\w.-]*$")]
    threshold: PositiveFloat
    activation: Annotated[NonNegativeFloat, Field(alias="activationThreshold")] = 0.0


class TriggerOptions(Block):
    """What all triggers have."""

    name: str = ""
    metric_type: Annotated[Literal["AverageValue", "Value"], Field(alias="metricType")] = "AverageValue"
    cached: Annotated[bool, Field(alias="useCachedMetrics")] = False
    authenticationRef: Metadata = Field(default={})  # noqa: N815


class KafkaTrigger(TriggerOptions):
    """`type: kafka`."""

    type: Literal["kafka"]
    metadata: KafkaMetadata


class PrometheusTrigger(TriggerOptions):
    """`type: prometheus`."""

    type: Literal["prometheus"]
    metadata: PrometheusMetadata


Trigger = KafkaTrigger | PrometheusTrigger


class HpaConfig(Block):
    """The HPA that KEDA makes."""

    name: str = ""
    behavior: Behavior = Behavior()


class Advanced(Block):
    """`advanced`."""

    restoreToOriginalReplicaCount: bool = False  # noqa: N815 - when the object is deleted, which no run does
    hpa: Annotated[HpaConfig, Field(alias="horizontalPodAutoscalerConfig")] = HpaConfig()


class Targeted(Block):
    """A rule with a target: a store of the pipeline if it is named so, else the consumer group, whatever its name in the cluster."""

    scaleTargetRef: Metadata = Field(default={})  # noqa: N815

    @property
    def target(self) -> str:
        """The target's name, empty without one."""
        return str(self.scaleTargetRef.get("name", ""))


class ScaledObjectSpec(Targeted):
    """`spec` of a ScaledObject; without `minReplicaCount` it may come down to no replica."""

    polling_s: Annotated[PositiveFloat, Field(alias="pollingInterval")] = 30.0
    cooldown_s: Annotated[NonNegativeFloat, Field(alias="cooldownPeriod")] = 300.0
    initial_cooldown_s: Annotated[NonNegativeFloat, Field(alias="initialCooldownPeriod")] = 0.0
    idle: Annotated[NonNegativeInt | None, Field(alias="idleReplicaCount")] = None
    least: Annotated[NonNegativeInt, Field(alias="minReplicaCount")] = 0
    most: Annotated[PositiveInt, Field(alias="maxReplicaCount")] = 100
    advanced: Advanced = Advanced()
    triggers: Annotated[tuple[Annotated[Trigger, Field(discriminator="type")], ...], Field(min_length=1)]

    @validator(mode="after")
    def _ordered(self) -> Self:
        if self.least > self.most:
            raise ValueError("must have a minReplicaCount no higher than maxReplicaCount")
        if self.idle is not None and self.idle >= self.least:
            raise ValueError("must have an idleReplicaCount below minReplicaCount")
        return self


class Target(Block):
    """What a metric is to be."""

    type: Literal["AverageValue", "Value"]
    average: Annotated[Quantity | None, Field(alias="averageValue")] = None
    value: Quantity | None = None

    @validator(mode="after")
    def _one(self) -> Self:
        if (self.average if self.type == "AverageValue" else self.value) is None:
            raise ValueError(f"must hold a value for type {self.type}")
        return self


class MetricName(Block):
    """A metric of the plant."""

    name: str
    selector: Metadata = Field(default={})


class ExternalMetric(Block):
    """A metric and its target."""

    metric: MetricName
    target: Target


class MetricSpec(Block):
    """One metric; of Kubernetes' kinds only `External`, by the name that it has at the plant."""

    type: Literal["External"]
    external: ExternalMetric


class HpaSpec(Targeted):
    """`spec` of a HorizontalPodAutoscaler, autoscaling/v2."""

    least: Annotated[PositiveInt, Field(alias="minReplicas")] = 1
    most: Annotated[PositiveInt, Field(alias="maxReplicas")]
    metrics: Annotated[tuple[MetricSpec, ...], Field(min_length=1)]
    behavior: Behavior = Behavior()


class _Object(Block):
    metadata: Metadata = Field(default={})
    status: Metadata = Field(default={})


class ScaledObject(_Object):
    """`kind: ScaledObject`."""

    apiVersion: Literal["keda.sh/v1alpha1"]  # noqa: N815
    kind: Literal["ScaledObject"]
    spec: ScaledObjectSpec


class HorizontalPodAutoscaler(_Object):
    """`kind: HorizontalPodAutoscaler`."""

    apiVersion: Literal["autoscaling/v2"]  # noqa: N815
    kind: Literal["HorizontalPodAutoscaler"]
    spec: HpaSpec


KINDS: dict[str, type[ScaledObject | HorizontalPodAutoscaler]] = {
    "ScaledObject": ScaledObject,
    "HorizontalPodAutoscaler": HorizontalPodAutoscaler,
}


def read_scaled_object(file: Path) -> ScaledObject | HorizontalPodAutoscaler:
    """Reads a ScaledObject, or a HorizontalPodAutoscaler, from its YAML.

    Raises:
        InputError: it is neither, or the first broken rule, in one line; a field that is KEDA's but not played is named.
    """
    data = read_document(file, "a ScaledObject or a HorizontalPodAutoscaler")
    kind = data.get("kind")
    if kind not in KINDS:
        raise InputError(f"{file.name}: kind: must be {' or '.join(KINDS)}, got {kind!r}; name such a file")
    for place, key in _fields(data):
        if key in UNPLAYED:
            raise InputError(
                f"{file.name}: {place}: must not be set, got a field of the {UNPLAYED[key]} that is not played; {_instead(key)}"
            )
    return parse(KINDS[str(kind)], data, file.name)


def _instead(key: str) -> str:
    return "write a metric of type External, such as cpu_cores" if key in CPU_TARGETS else "remove it"


def _fields(data: Any, place: str = "") -> list[tuple[str, str]]:
    if isinstance(data, Mapping):
        here = [(f"{place}{key}", str(key)) for key in data]
        return here + [found for key, value in data.items() for found in _fields(value, f"{place}{key}.")]
    if isinstance(data, list):
        return [found for number, value in enumerate(data) for found in _fields(value, f"{place}{number}.")]
    return []

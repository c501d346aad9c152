"""A KEDA ScaledObject and a HorizontalPodAutoscaler, read as a cluster takes them, and what they do to a plant."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from sentra_sim.control.autoscaler import KedaAutoscaler, make_autoscaler, read_trigger
from sentra_sim.control.plant import SetWorkers
from sentra_sim.control.scaledobject import ScaledObject, read_scaled_object
from sentra_sim.errors import InputError
from tests.unit.fake_plant import play

SCALED_OBJECT = """
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: worker, namespace: sentra}
spec:
  scaleTargetRef: {name: worker}
  pollingInterval: 10
  cooldownPeriod: 60
  minReplicaCount: 1
  maxReplicaCount: 10
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        scaleDown:
          stabilizationWindowSeconds: 60
          policies: [{type: Pods, value: 1, periodSeconds: 30}]
  triggers:
    - type: kafka
      metadata:
        bootstrapServers: kafka:9092
        consumerGroup: worker
        topic: events
        lagThreshold: "1000"
        activationLagThreshold: "5"
"""


def read(tmp_path: Path, **spec: Any) -> ScaledObject:
    data = yaml.safe_load(SCALED_OBJECT)
    data["spec"] |= spec
    return write(tmp_path, data)


def write(tmp_path: Path, data: Any) -> ScaledObject:
    file = tmp_path / "worker.yaml"
    file.write_text(yaml.safe_dump(data), encoding="utf-8")
    found = read_scaled_object(file)
    assert isinstance(found, ScaledObject)
    return found


def kafka(**metadata: str) -> list[dict[str, Any]]:
    return [{"type": "kafka", "metadata": {"topic": "events", "lagThreshold": "1000"} | metadata}]


def seen(lag: float, partitions: float = 6, behind: float = 6) -> dict[str, float]:
    return {"lag_events": lag, "partitions": partitions, "lag_partitions": behind}


def test_a_backlog_brings_workers_and_its_end_takes_them_back_one_by_one(tmp_path: Path) -> None:
    autoscaler = make_autoscaler(read(tmp_path))
    plant, journal = play(autoscaler, lambda now: seen(3500.0 if now < 100.0 else 0.0), 400.0)
    # Up within one look; down a minute after the last look at the backlog, then one each thirty seconds.
    times = [at_s for at_s, _ in plant.done]
    assert [action.count for _, action in plant.done] == [4, 3, 2, 1]
    assert (times[0], times[1]) == (0.0, 150.0)
    assert [later - earlier for earlier, later in pairwise(times[1:])] == [30.0, 30.0]
    assert next(journal.of("decided")).text == "1 to 4 workers"


def test_no_lag_for_the_cooldown_leaves_no_worker_and_the_first_poll_with_lag_brings_one(tmp_path: Path) -> None:
    rule = read(tmp_path, minReplicaCount=0)
    plant, _ = play(make_autoscaler(rule), lambda now: seen(100.0 if now < 35.0 or now >= 204.0 else 5.0), 300.0)
    # Active until the poll at 30 s; 60 s of cooldown must be over; at 210 s the lag is above the activation threshold.
    assert plant.done == [(100.0, SetWorkers(0)), (210.0, SetWorkers(1))]


@pytest.mark.parametrize(
    ("metadata", "lag", "behind", "usage"),
    [
        ({}, 60_000.0, 6, 6_000.0),  # six partitions
        ({}, 6_999.0, 6, 6_999.0),  # whole thresholds are compared, as KEDA does
        ({"limitToPartitionsWithLag": "true"}, 60_000.0, 2, 2_000.0),
        ({"allowIdleConsumers": "true"}, 60_000.0, 6, 60_000.0),
    ],
)
def test_lag_counts_up_to_the_partitions(
    tmp_path: Path, metadata: dict[str, str], lag: float, behind: float, usage: float
) -> None:
    (trigger,) = read(tmp_path, triggers=kafka(**metadata)).spec.triggers
    reading = read_trigger(trigger, seen(lag, 6, behind))
    assert reading is not None
    assert reading.usage.value == usage


def test_never_are_there_more_workers_than_partitions(tmp_path: Path) -> None:
    plant, _ = play(make_autoscaler(read(tmp_path)), lambda _: seen(6_999.0), 100.0)
    assert plant.workers == 6


def test_a_plant_that_does_not_tell_its_lag_is_left_alone(tmp_path: Path) -> None:
    plant, _ = play(make_autoscaler(read(tmp_path)), lambda _: {"partitions": 6.0}, 400.0, workers=3)
    assert plant.done == []


def test_a_prometheus_trigger_reads_the_plant_s_metric(tmp_path: Path) -> None:
    trigger = {"type": "prometheus", "metadata": {"query": "worker.cpu_cores", "threshold": "0.5"}}
    rule = read(tmp_path, triggers=[trigger])
    plant, _ = play(make_autoscaler(rule), lambda _: {"worker.cpu_cores": 1.4, "partitions": 6.0}, 50.0)
    assert plant.workers == 3


def test_metrics_of_the_last_poll_serve_where_the_trigger_caches_them(tmp_path: Path) -> None:
    triggers = [kafka()[0] | {"useCachedMetrics": True}]
    rule = read(tmp_path, triggers=triggers, pollingInterval=40)
    plant, _ = play(KedaAutoscaler(rule.spec), lambda now: seen(0.0 if now < 20.0 else 4_000.0), 100.0)
    assert plant.done == [(45.0, SetWorkers(4))]  # polled at 40 s, looked at 45 s


def test_a_horizontal_pod_autoscaler_by_itself(tmp_path: Path) -> None:
    target = {"type": "AverageValue", "averageValue": "1k"}
    metric = {"type": "External", "external": {"metric": {"name": "lag_events"}, "target": target}}
    spec = {"scaleTargetRef": {"kind": "Deployment", "name": "worker"}, "maxReplicas": 5, "metrics": [metric]}
    data = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {}, "spec": spec}
    file = tmp_path / "hpa.yaml"
    file.write_text(yaml.safe_dump(data), encoding="utf-8")
    plant, _ = play(make_autoscaler(read_scaled_object(file)), lambda _: seen(9_000.0), 40.0)
    assert plant.done == [(0.0, SetWorkers(5))]


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"minReplicas": 2}, "worker.yaml: spec.minReplicas: unknown key; did you mean 'minReplicaCount'?"),
        ({"minReplicaCount": 20}, "must have a minReplicaCount no higher than maxReplicaCount"),
        ({"triggers": kafka(lagTreshold="9")}, "lagTreshold: unknown key; did you mean 'lagThreshold'?"),
        (
            {"triggers": kafka(excludePersistentLag="true")},
            "excludePersistentLag: must not be set, got a field of the trigger",
        ),
        (
            {"fallback": {"replicas": 3}},
            "spec.fallback: must not be set, got a field of the ScaledObject that is not played",
        ),
        (
            {"triggers": kafka(allowIdleConsumers="true", limitToPartitionsWithLag="true")},
            "must not set allowIdleConsumers and limitToPartitionsWithLag together",
        ),
        ({"triggers": [{"type": "cron", "metadata": {}}]}, "'kafka', 'prometheus'"),
    ],
)
def test_what_it_cannot_play_it_names(tmp_path: Path, spec: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, **spec)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_kind_of_file_is_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="kind: must be ScaledObject or HorizontalPodAutoscaler, got 'Deployment'"):
        write(tmp_path, {"kind": "Deployment"})

"""An autoscaler on a simulated flash crowd: consumers beyond the first ones come and go, in both engines alike."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from sentra_sim.control.autoscaler import make_autoscaler
from sentra_sim.control.journal import Journal
from sentra_sim.control.loop import drive_simulated
from sentra_sim.control.plant import SetWorkers
from sentra_sim.control.scaledobject import read_scaled_object
from sentra_sim.control.simulated import SimulatedPlant
from sentra_sim.engine import Plan, Simulation, prepare, simulate, start
from sentra_sim.engine.run import Engine
from sentra_sim.errors import InputError
from sentra_sim.records import hop_column
from sentra_sim.scenario import ConsumerGroup, Scenario, only, with_room
from tests.pipelines import bare

SECONDS = 150.0

# One consumer is enough at any time; with lag there are two at least, up to one a partition.
SPEC: dict[str, Any] = {
    "scaleTargetRef": {"name": "group"},
    "pollingInterval": 5,
    "cooldownPeriod": 20,
    "idleReplicaCount": 1,
    "minReplicaCount": 2,
    "maxReplicaCount": 10,
    "advanced": {"horizontalPodAutoscalerConfig": {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 15}}}},
    "triggers": [{"type": "kafka", "metadata": {"lagThreshold": "100", "activationLagThreshold": "20"}}],
}


def crowd(**group: Any) -> Scenario:
    """A consumer takes 50 events/s; 30 come, and at 20 s a crowd of six times as many, which goes slowly."""
    return bare(
        {
            "load": {"rate_eps": 30.0, "tick_s": 0.0, "keys": 1000, "key_skew": 0.0, "arrivals": "poisson"}
            | {"shape": [{"kind": "flash", "at_s": 20.0, "factor": 6.0, "rise_s": 5.0, "decay_s": 12.0}]},
            "stations.log.partitions": 4,
            "stations.group": {"kind": "consumer_group", "host": "ample", "process": {"event_s": 0.02}}
            | {"heartbeat_s": 0.5, "session_timeout_s": 3.0, "max_poll_events": 5, "ready_s": 2.0}
            | group,
        }
    )


def scaled(tmp_path: Path, plan: Plan, simulation: Simulation) -> Journal:
    data = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "group"}, "spec": SPEC}
    file = tmp_path / "group.yaml"
    file.write_text(yaml.safe_dump(data), encoding="utf-8")
    return drive_simulated(simulation, plan, [make_autoscaler(read_scaled_object(file))])


def looks(journal: Journal, name: str) -> list[float]:
    return [entry.detail[name] for entry in journal.of("saw")]


@pytest.mark.parametrize("engine", ["compiled", "reference"])
def test_a_flash_crowd_brings_consumers_and_the_cooldown_after_it_sends_them_home(
    tmp_path: Path, engine: Engine
) -> None:
    plan = prepare(crowd(max_replicas=4), seconds=SECONDS, seed=1)
    simulation = start(plan, engine=engine)
    journal = scaled(tmp_path, plan, simulation)
    counts = [entry.detail["count"] for entry in journal.of("did")]
    assert counts[0] == 2  # as soon as a poll sees lag
    assert max(counts) == 4  # of the ten that are allowed, one a partition
    assert counts[-1] == 1
    lag = looks(journal, "lag_events")
    last_active_s = max(entry.at_s for entry in journal.of("saw") if entry.detail["lag_events"] > 20.0)
    idle_s = max(entry.at_s for entry in journal.of("did"))
    assert 20.0 < idle_s - last_active_s <= 30.0  # the cooldown is over at the next poll but one
    assert lag[-1] < 20.0
    alone, grown = start(plan, engine=engine), []
    for at_s in (25.0, 35.0, 45.0, idle_s):
        alone.advance(at_s)
        grown.append(alone.lag_events)
    assert grown[0] < grown[1] < grown[2]
    assert grown[3] > max(lag)  # it has not worked it off when the other group has sent its helpers home


def test_both_engines_play_the_same_scaling(tmp_path: Path) -> None:
    plan = prepare(crowd(max_replicas=4), seconds=SECONDS, seed=2)
    one, other = start(plan), start(plan, engine="reference")
    assert scaled(tmp_path, plan, one).entries == scaled(tmp_path, plan, other).entries
    np.testing.assert_array_equal(one.trace().hops_s, other.trace().hops_s)


def test_a_run_under_control_has_room_for_what_its_controllers_want(tmp_path: Path) -> None:
    """The scenario says one consumer, as it does for the live pipeline, which starts as many as it is told to."""

    def grow(simulation: Simulation, plan: Plan) -> None:
        SimulatedPlant(simulation, plan, lambda: 1.0).apply(SetWorkers(3))

    with pytest.raises(InputError, match="from 0 to 1, got 3; for more set max_replicas"):
        simulate(crowd(), seconds=10.0, warmup_s=0.0, seed=1, control=grow)
    wide = with_room(crowd(), 100)
    assert only(wide, ConsumerGroup)[1].most_replicas == 4  # one a partition
    assert with_room(wide, 3) is wide
    tables, _ = simulate(wide, seconds=10.0, warmup_s=0.0, seed=1, control=grow)
    assert tables.frames[hop_column("started")].null_count() == 0
    same, _ = simulate(wide, seconds=10.0, warmup_s=0.0, seed=1)
    plain, _ = simulate(crowd(), seconds=10.0, warmup_s=0.0, seed=1)
    assert same.frames.equals(plain.frames)  # room alone changes nothing

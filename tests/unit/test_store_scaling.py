"""An autoscaler of a store: replicas come while events pile up before it and go when they are in, in both engines alike."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from sentra_sim.control.checks import check_control, check_live
from sentra_sim.control.file import load_control
from sentra_sim.control.journal import Journal
from sentra_sim.control.loop import drive_simulated
from sentra_sim.engine import prepare, start
from sentra_sim.engine.run import Engine
from sentra_sim.errors import InputError
from sentra_sim.scenario import Scenario
from tests.pipelines import bare

SECONDS = 240.0


def burst(**store: Any) -> Scenario:
    """A replica of the lake writes 100 events/s; 60 come, and from 20 s on for 40 s four times as many."""
    lake = {"kind": "store", "host": "ample", "hop": "landed", "flush_s": 1.0, "demand": {"event_s": 0.01}}
    return bare(
        {
            "load": {"rate_eps": 60.0, "tick_s": 0.0, "keys": 1000, "key_skew": 0.0}
            | {"shape": [{"kind": "flash", "at_s": 20.0, "factor": 4.0, "rise_s": 1.0, "decay_s": 30.0}]},
            "stations.group.calls": ["door"],
            "stations.door": {"kind": "pool", "host": "ample", "hop": "entered", "to": ["lake"]},
            "stations.lake": lake | {"max_replicas": 4} | store,
        }
    )


def hpa(target: str = "lake", most: int = 4, name: str = "lake.backlog_events") -> dict[str, Any]:
    metric = {"metric": {"name": name}, "target": {"type": "AverageValue", "averageValue": "300"}}
    down = {"scaleDown": {"stabilizationWindowSeconds": 30}}
    spec = {"scaleTargetRef": {"kind": "StatefulSet", "name": target}, "maxReplicas": most, "behavior": down}
    metrics = [{"type": "External", "external": metric}]
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "spec": spec | {"metrics": metrics},
    }


def control_file(folder: Path, *rules: dict[str, Any]) -> Path:
    names = [f"hpa-{number}.yaml" for number in range(len(rules))]
    for name, rule in zip(names, rules, strict=True):
        (folder / name).write_text(yaml.safe_dump(rule), encoding="utf-8")
    file = folder / "control.yaml"
    file.write_text(yaml.safe_dump({"autoscaler": names[0] if len(names) == 1 else names}), encoding="utf-8")
    return file


def played(folder: Path, engine: Engine, *rules: dict[str, Any]) -> Journal:
    plan = prepare(burst(), seconds=SECONDS, seed=1)
    control = load_control(control_file(folder, *rules))
    return drive_simulated(start(plan, engine=engine), plan, control.controllers)


@pytest.mark.parametrize("engine", ["compiled", "reference"])
def test_a_backlog_brings_replicas_and_its_end_sends_them_home(tmp_path: Path, engine: Engine) -> None:
    journal = played(tmp_path, engine, hpa())
    counts = [entry.detail["count"] for entry in journal.of("did")]
    seen = [entry.detail["lake.backlog_events"] for entry in journal.of("saw")]
    assert counts[0] > 1
    assert max(counts) >= 3
    assert counts[-1] == 1
    assert seen[-1] < 300.0 < max(seen)


def test_more_replicas_bring_the_backlog_down_sooner(tmp_path: Path) -> None:
    one, four = (played(tmp_path, "compiled", hpa(most=most)) for most in (1, 4))
    behind = [sum(entry.detail["lake.backlog_events"] > 300.0 for entry in run.of("saw")) for run in (one, four)]
    assert behind[1] < behind[0] / 2


def test_workers_and_replicas_have_a_rule_each(tmp_path: Path) -> None:
    journal = played(tmp_path, "compiled", hpa(), hpa("group", name="lag_events"))
    assert {entry.detail["action"] for entry in journal.of("did")} == {"SetReplicas"}  # the group is never behind


@pytest.mark.parametrize(
    ("rules", "line"),
    [
        (
            [hpa("door")],
            "must be the consumer group or a store with max_replicas, got 'door'; valid names: group, lake",
        ),
        ([hpa(most=9)], "must be a store with room for all that the rule allows, got 1 to 9 of lake, which has 1 to 4"),
        ([hpa(), hpa()], "must be another target than that of hpa-0.yaml, got both lake"),
        (
            [hpa(name="lake.backlog")],
            "must be a metric of the plant, got 'lake.backlog'; did you mean 'lake.backlog_events'?",
        ),
    ],
)
def test_a_rule_without_its_target_is_refused(tmp_path: Path, rules: list[dict[str, Any]], line: str) -> None:
    control = load_control(control_file(tmp_path, *rules))
    with pytest.raises(InputError) as refused:
        check_control(control, burst(), seconds=60.0)
    assert line in str(refused.value)


def test_a_live_plant_scales_workers_only(tmp_path: Path) -> None:
    control = load_control(control_file(tmp_path, hpa()))
    with pytest.raises(InputError, match=r"must be the consumer group on a live plant, got 'lake'"):
        check_live(control, burst())
    check_live(load_control(control_file(tmp_path, hpa("workers-of-some-cluster"))), burst())

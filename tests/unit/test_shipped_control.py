"""The control files that come with the lab do what their first lines say."""

from pathlib import Path

from sentra_sim.control.file import load_control
from sentra_sim.control.loop import drive_simulated
from sentra_sim.engine import prepare, start
from tests.pipelines import sentra

CONTROL = Path(__file__).parents[2] / "data" / "control"


def test_the_canary_of_the_example_is_rolled_back_and_the_service_restored() -> None:
    control = load_control(CONTROL / "rollout.yaml")
    plan = prepare(sentra({}), seconds=200.0, seed=1)
    journal = drive_simulated(start(plan), plan, control.controllers, defects=control.defects)
    decided = list(journal.of("decided"))
    assert [entry.text for entry in decided[-4:]] == ["breach", "breach", "rolled back", "restored"]
    assert decided[-1].detail["after_s"] < 90.0  # from the first breach


def test_the_workers_of_the_example_follow_a_crowd_up_and_down() -> None:
    control = load_control(CONTROL / "autoscale.yaml")
    changes = {
        "load.rate_eps": 1_500.0,
        "load.shape": [{"kind": "flash", "at_s": 20.0, "factor": 8.0, "rise_s": 5.0, "decay_s": 10.0}],
        "hosts.box.cores": 16,
        "stations.worker.process": {"event_s": 4e-4},
        "stations.worker.max_replicas": 3,
    }
    plan = prepare(sentra(changes), seconds=240.0, seed=1)
    journal = drive_simulated(start(plan), plan, control.controllers)
    counts = [entry.detail["count"] for entry in journal.of("did")]
    assert max(counts) == 3
    assert counts[-1] == 1

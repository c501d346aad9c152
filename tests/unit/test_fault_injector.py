"""The fault injector: what is harmed when, and when it is taken back."""

import pytest
import simpy

from sentra_sim.control.faults import FaultInjector, FaultPlan
from sentra_sim.control.journal import Journal
from sentra_sim.control.loop import drive
from sentra_sim.control.plant import Burden, Heal, Kill, Partition, Pause, Resume, Start
from sentra_sim.errors import PlantError
from tests.unit.fake_plant import FakePlant, play


def test_a_timetable_is_played_and_each_fault_taken_back_after_its_length() -> None:
    plan = FaultPlan.model_validate(
        {
            "timetable": [
                {"at_s": 20, "action": "partition", "process": "kafka-2", "peers": True, "for_s": 3},
                {"at_s": 10, "action": "kill", "process": "worker", "for_s": 15},
                {"at_s": 30, "action": "burden", "station": "pricing", "factor": 3, "for_s": 5},
                {"at_s": 40, "action": "pause", "process": "redis"},
            ]
        }
    )
    plant, _ = play(FaultInjector(plan), lambda _: {}, 100.0)
    assert plant.done == [
        (10.0, Kill("worker")),
        (20.0, Partition("kafka-2", peers=True, clients=False)),
        (23.0, Heal("kafka-2")),
        (25.0, Start("worker")),
        (30.0, Burden("pricing", 3.0)),
        (35.0, Burden("pricing", 1.0)),
        (40.0, Pause("redis")),
    ]


def random_plan(seed: int) -> FaultPlan:
    choose = [{"action": "pause", "process": name, "for_s": 1.0} for name in ("worker", "redis")]
    return FaultPlan.model_validate({"random": {"mean_gap_s": 20.0, "seed": seed, "choose": choose}})


def test_a_campaign_is_the_same_for_a_seed_and_has_its_mean_gap() -> None:
    first, _ = play(FaultInjector(random_plan(7)), lambda _: {}, 20_000.0)
    again, _ = play(FaultInjector(random_plan(7)), lambda _: {}, 20_000.0)
    other, _ = play(FaultInjector(random_plan(8)), lambda _: {}, 20_000.0)
    assert first.done == again.done != other.done
    paused = [at_s for at_s, action in first.done if isinstance(action, Pause)]
    assert 850 < len(paused) < 1150  # a thousand are expected, with a standard deviation of 32
    assert {action.process for _, action in first.done} == {"worker", "redis"}
    # A redis paused anew before its first pause is over is resumed twice: each fault is taken back once.
    assert len(paused) - 1 <= sum(isinstance(action, Resume) for _, action in first.done) <= len(paused)


def test_what_the_plant_refuses_ends_the_run_and_is_in_the_journal() -> None:
    env, journal = simpy.Environment(), Journal()
    plant = FakePlant(env, lambda _: {})
    plant.broken = True
    with pytest.raises(PlantError) as caught:
        drive(env, plant, [FaultInjector(random_plan(7))], until_s=500.0, journal=journal)
    (entry,) = journal.of("failed", "faults")
    assert entry.text == str(caught.value)

"""Faults without a stack: what a schedule holds, when a pipeline counts as well again, what a campaign adds up to."""

import json
import random
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from live_adapters.chaos.campaign import Account, Played, _broken, restart_order
from live_adapters.chaos.faults import FAULTS, Scene, draw_schedule, find_fault
from live_adapters.chaos.lookout import Bounds, Flow, Look, complaints
from live_adapters.chaos.quorum import TOPIC, leader_in, quorum_request
from live_adapters.chaos.results import save, summarise
from live_adapters.chaos.trial import Background, Outcome, Recogniser
from live_adapters.pipeline.hoplog import SUBSCRIBER_DELIVERED, VISIBLE, HopLog
from live_adapters.plant import LivePlant
from live_adapters.verify.judge import Finding, Offence
from sentra_sim.control.plant import Heal, Kill, Partition, Pause, Plant, Restart, Resume, SetWorkers, Slow, Start
from sentra_sim.errors import InputError

BOUNDS = Bounds(1_000.0)
WELL = Look(0.0, 1_000.0, 0.0, 1_000.0, 1_000.0, 1_000.0, 50, 0)
ACCOUNT = Account(
    sent_events=1_000,
    acked_events=1_000,
    unknown_events=0,
    lost=0,
    duplicates=0,
    refused_duplicates=7,
    dead=0,
    breaches=(),
    availability=0.9,
)


def test_a_campaign_has_every_fault_equally_often_in_an_order_of_its_seed() -> None:
    names = [name for name, fault in FAULTS.items() if not fault.proxied]
    drawn = draw_schedule(2 * len(names) + 3, seed=4)
    counts = {name: drawn.count(name) for name in names}
    assert set(counts.values()) == {2, 3}
    assert sum(counts.values()) == len(drawn)
    assert drawn == draw_schedule(len(drawn), seed=4)
    assert drawn != draw_schedule(len(drawn), seed=5)


def test_faults_of_the_network_are_played_on_a_proxied_stack_only() -> None:
    network = {"partition-clients", "partition-peers", "partition-leader", "latency", "loss", "slow-peers"}
    assert {name for name, fault in FAULTS.items() if fault.proxied} == network
    assert set(draw_schedule(len(FAULTS), seed=4, proxied=True)) == set(FAULTS)
    assert network.isdisjoint(draw_schedule(len(FAULTS), seed=4))
    assert find_fault("latency", "kafka-3", proxied=True).target == "kafka-3"
    with pytest.raises(InputError, match=r"latency: must have a proxied stack, got none; .*`sentra up --proxied`"):
        find_fault("latency", proxied=False)
    assert find_fault("kill-leader", proxied=False).target == "leader"


def test_a_fault_can_be_aimed_at_what_it_can_hit_only() -> None:
    assert find_fault("kill-leader", "kafka-2").target == "kafka-2"
    assert find_fault("kill-worker").target == "worker"
    with pytest.raises(InputError, match=r"fault: must be one of .*kill-leader.*; got 'kill-moon'"):
        find_fault("kill-moon")
    with pytest.raises(InputError, match="--target: must be one of worker for kill-worker, got 'kafka-1'"):
        find_fault("kill-worker", "kafka-1")


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"acked_eps": 850.0}, "acks: 850 events/s"),
        ({"ack_age_s": 0.7}, "oldest unanswered 0.7 s"),
        ({"delivered_eps": 400.0}, "delivered: 400 events/s"),
        ({"redis_eps": 0.0}, "redis: 0 events/s"),
        ({"clickhouse_eps": 0.0}, "clickhouse: 0 events/s"),
        ({"lag_events": 2_001}, "lag: 2,001 events"),
        ({"lag_events": None}, "lag: no answer"),
    ],
)
def test_what_keeps_a_pipeline_from_being_well_is_named(changed: dict[str, float | None], complaint: str) -> None:
    assert complaints(WELL, BOUNDS) == []
    (said,) = complaints(replace(WELL, **changed), BOUNDS)
    assert complaint in said


def see(recogniser: Recogniser, at_s: float, **changed: float) -> None:
    recogniser.see(replace(WELL, at_s=at_s, **changed))


def test_recovery_lasts_until_the_beginning_of_the_last_good_streak() -> None:
    seen = Recogniser(BOUNDS, since_s=100.0)
    see(seen, 100.2)  # the window of the rates still remembers better days
    see(seen, 101.0, acked_eps=0.0)
    see(seen, 103.5)
    see(seen, 104.0, acked_eps=0.0, redis_eps=0.0)
    see(seen, 105.5)
    assert not seen.steady(105.5 + BOUNDS.steady_s - 0.1)
    see(seen, 106.5)
    assert seen.steady(105.5 + BOUNDS.steady_s)
    assert seen.recovery_s == pytest.approx(5.5)
    assert [line.partition(":")[0] for line in seen.felt] == ["acks", "redis"]


def test_a_fault_that_nobody_felt_took_no_time_to_recover_from() -> None:
    seen = Recogniser(BOUNDS, since_s=100.0)
    see(seen, 100.2)
    assert seen.steady(100.2 + BOUNDS.steady_s)
    assert seen.recovery_s == 0.0


def test_a_flow_is_counted_over_the_last_window_of_a_growing_log(tmp_path: Path) -> None:
    flow = Flow(tmp_path, SUBSCRIBER_DELIVERED, lambda rows: int(rows["events"].sum()), 0.6)
    assert flow.look(10.0) == 0.0
    log = HopLog(tmp_path, *SUBSCRIBER_DELIVERED)
    for now_s, events in ((10.5, 100), (11.0, 100), (11.5, 400)):
        log.append(np.array([(1, events, 0)], dtype=VISIBLE))
        rate = flow.look(now_s)
    log.close()
    assert rate == pytest.approx(500 / 1.0)  # the last look at least 0.6 s ago was at 10.5
    assert flow.look(13.0) == pytest.approx(0.0)


def test_what_fails_in_the_background_is_raised_by_who_asks() -> None:
    def fail() -> None:
        raise InputError("no")

    work = Background(fail)
    work.wait()
    with pytest.raises(InputError, match="no"):
        work.done()


def test_the_question_for_the_active_controller_is_laid_out_as_the_protocol_says() -> None:
    request = quorum_request()
    (size,) = struct.unpack_from(">i", request)
    assert size == len(request) - 4
    assert struct.unpack_from(">hh", request, 4) == (55, 0)
    head = struct.pack(">ib", 1, 0) + struct.pack(">h", 0) + b"\2" + bytes([len(TOPIC) + 1]) + TOPIC + b"\2"
    assert leader_in(head + struct.pack(">ihii", 0, 0, 3, 7)) == 3
    with pytest.raises(ValueError, match="error 29"):
        leader_in(struct.pack(">ibh", 1, 0, 29) + b"\1\0")


def test_a_rolling_restart_takes_every_process_of_the_platform_and_leaves_its_clients_alone() -> None:
    pipeline = ["gateway", "worker-1", "worker-2", "pricing", "auditor", "fanout", "subscriber", "observer"]
    stack = ["kafka-1", "kafka-2", "kafka-3", "postgres", "redis", "clickhouse"]
    order = restart_order(pipeline, stack)
    assert order == ["gateway", "worker-1", "worker-2", "pricing", "auditor", "fanout", *stack]


def test_a_campaign_passes_only_when_nothing_is_lost_doubled_or_left_broken(tmp_path: Path) -> None:
    outcomes = tuple(Outcome("kill-worker", "worker", 1.0, time_s, "acks: none") for time_s in (1.0, 2.0, 9.0))
    calm = Outcome("poison", "topic", 5.0, 0.0, "")
    played = [Played((*outcomes, calm), ACCOUNT), Played((calm,), replace(ACCOUNT, availability=1.0))]
    found = summarise(played)
    assert found.passed
    worker, poison = found.kinds
    assert (worker.n, worker.felt, worker.median_s, worker.max_s) == (3, 3, 2.0, 9.0)
    assert (poison.n, poison.felt, poison.max_s) == (2, 0, 0.0)
    assert (found.acked_events, found.refused_duplicates) == (2_000, 14)
    assert found.availability == pytest.approx(0.95)

    assert not summarise([Played((calm,), replace(ACCOUNT, lost=1))]).passed
    assert not summarise([Played((calm,), replace(ACCOUNT, duplicates=1))]).passed
    assert not summarise([Played((calm,), replace(ACCOUNT, breaches=("redis: differs",)))]).passed
    assert not summarise([Played((replace(calm, recovery_s=None),), ACCOUNT)]).passed

    save(tmp_path / "campaign", played, seed=3, rate_eps=1_000.0)
    assert sorted(path.name for path in (tmp_path / "campaign").iterdir()) == ["campaign.json", "faults.parquet"]
    assert pl.read_parquet(tmp_path / "campaign" / "faults.parquet").height == 5
    written = json.loads((tmp_path / "campaign" / "campaign.json").read_text(encoding="utf-8"))
    assert written["summary"]["passed"] is True
    assert written["seed"] == 3


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        ("partition-clients", ("partition", "kafka-2", ("peers", False), ("clients", True))),
        ("partition-peers", ("partition", "kafka-2", ("peers", True), ("clients", False))),
        ("partition-leader", ("partition", "kafka-2", ("peers", True), ("clients", True))),
        ("latency", ("slow", Slow("kafka-2", 0.1, 0.02))),
        ("loss", ("slow", Slow("kafka-2", 0.2, share=0.02))),
        ("slow-peers", ("slow", Slow("kafka-2", 0.1, peers=True))),
    ],
)
def test_a_fault_of_the_network_harms_one_broker_and_heals_it(name: str, harm: tuple[Any, ...]) -> None:
    recorded: Any = Recorded()
    scene, fault = Scene(recorded, recorded, random.Random(1), BOUNDS), find_fault(name, "kafka-2")
    fault.inject(scene, fault.target)
    fault.heal(scene, fault.target)
    assert recorded.done == [harm, ("heal", "kafka-2")]


class Recorded:
    """A session and a lookout that only note what is asked of them."""

    def __init__(self) -> None:
        self.done: list[tuple[Any, ...]] = []

    def look(self, window_s: float) -> Look:
        return replace(WELL, lag_events=None)

    def __getattr__(self, action: str) -> Callable[..., None]:
        return lambda what, **how: self.done.append((action, what, *how.items()))


def test_a_live_plant_does_actions_to_processes_and_leaves_out_what_it_cannot_measure() -> None:
    recorded: Any = Recorded()
    plant: Plant = LivePlant(recorded, recorded)
    for action in (Kill("worker"), Start("worker"), Pause("kafka-1"), Resume("kafka-1"), Restart("redis")):
        plant.apply(action)
    names = ["kill", "start_again", "pause", "resume", "restart"]
    assert recorded.done == list(zip(names, ["worker", "worker", "kafka-1", "kafka-1", "redis"], strict=True))
    recorded.done.clear()
    slow = Slow("kafka-2", 0.1, jitter_s=0.02)
    for other in (Partition("kafka-1", peers=True, clients=False), slow, Heal("kafka-1"), SetWorkers(2)):
        plant.apply(other)
    assert recorded.done == [
        ("partition", "kafka-1", ("peers", True), ("clients", False)),
        ("slow", slow),
        ("heal", "kafka-1"),
        ("set_workers", 2),
    ]
    shown = plant.metrics(1.0)
    assert shown["acked_eps"] == 1_000.0
    assert "lag_events" not in shown


def test_a_session_tells_which_invariant_broke_and_names_the_first_ids() -> None:
    ids = tuple(Offence(1, number, 7, 0, number, None, "no effect") for number in range(1, 9))
    findings = (Finding("only-sent", "ok", ""), Finding("acked-in-effect", "FAULT", "8 are not in effect", ids))
    (line,) = _broken(findings)
    assert line.startswith("acked-in-effect: 8 are not in effect (1:1 (key 7, partition 0, offset 1): no effect; ")
    assert line.count("no effect") == 5

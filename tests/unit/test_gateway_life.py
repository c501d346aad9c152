"""What a gateway does that is stopped, killed and started: what it refuses, brings to an end, or takes along."""

from typing import Any

import numpy as np
import pytest

from sentra_sim.engine import Change, Trace, prepare, run, start
from sentra_sim.engine.run import Engine
from sentra_sim.engine.trace import EVENT_SHED, OK, SHED
from sentra_sim.errors import InputError
from sentra_sim.scenario import Scenario, processes
from tests.pipelines import bare, hop_times
from tests.property.books import IN_FLIGHT, account, play_with_looks

ENGINES = pytest.mark.parametrize("engine", ["reference", "compiled"])


def gateway(**keys: Any) -> Scenario:
    """An event each millisecond into frames that linger for 50 ms; replication takes 100 ms, a start 0.2 s."""
    return bare(
        {
            "load.rate_eps": 1_000.0,
            "stations.batcher.max_events": 1_000,
            "stations.batcher.linger_s": 0.05,
            "stations.batcher.recovery": {"restart_s": 0.2},
            "stations.log.replication": {"mean_s": 0.1},
            "stations.log.brokers": 2,
            "stations.log.partitions": 2,
            "stations.log.replication_factor": 2,
        }
        | {key.replace("__", "."): value for key, value in keys.items()}
    )


RETRY = {"timeout_s": 0.4, "retries": 20, "backoff": {"mean_s": 0.05}}


def play(scenario: Scenario, engine: Engine, *changes: Change, seconds: float = 1.0) -> Trace:
    return play_with_looks(prepare(scenario, seconds=seconds, seed=1), engine, changes, every_s=0.02)


@ENGINES
def test_a_gateway_that_is_stopped_refuses_what_comes_and_brings_to_an_end_what_it_has(engine: Engine) -> None:
    scenario = gateway()
    trace = play(scenario, engine, Change(0.5005, "stop", "batcher"))
    assert (trace.frame[:501] >= 0).all()
    assert (trace.frame[501:] == EVENT_SHED).all()
    assert (trace.outcome == OK).all()
    closed = hop_times(scenario, trace, "closed")
    assert closed.max() == pytest.approx(0.5005)  # before its linger is over
    assert hop_times(scenario, trace, "started").max() == pytest.approx(0.6005)


@ENGINES
def test_a_gateway_that_is_killed_takes_along_what_no_broker_has(engine: Engine) -> None:
    """Of frames of 51 ms the one that is open dies; two that are on their way to the follower go on."""
    scenario = gateway()
    trace = play(scenario, engine, Change(0.5305, "kill", "batcher"), Change(0.6005, "start", "batcher"))
    died = trace.outcome == SHED
    assert died.any()
    assert (trace.events[died] == 0).all()
    assert (trace.repeats[died] > 0).all()
    assert np.isnan(hop_times(scenario, trace, "closed")[died]).all()
    assert (trace.outcome[~died] == OK).all()
    shed = np.flatnonzero(trace.frame == EVENT_SHED) / 1_000.0
    assert shed.min() == pytest.approx(hop_times(scenario, trace, "received")[died].min())
    assert shed.max() == pytest.approx(0.8)  # 0.2 s after the start
    acked = hop_times(scenario, trace, "acked")
    assert ((acked > 0.5305) & (acked < 0.7)).any()


@ENGINES
def test_clients_that_try_again_bring_what_died_with_the_gateway(engine: Engine) -> None:
    """Nothing is lost, nor twice: what had come to a broker is a repeat when it comes again."""
    changes = Change(0.5305, "kill", "batcher"), Change(0.6005, "start", "batcher")
    scenario = gateway(stations__source__retry=RETRY)
    trace = play(scenario, engine, *changes, seconds=2.0)
    assert (trace.frame >= 0).all()
    assert (trace.outcome[trace.frame] == OK).all()
    assert trace.sends.max() > 1
    lives = trace.outcome != SHED
    assert trace.repeats[lives].sum() > 0
    assert trace.repeats[~lives].sum() > 0
    # Whoever has heard of all its events tries no more: those from after the restart are sent once.
    assert (trace.sends[1_000:] == 1).all()


@ENGINES
def test_requests_of_a_dead_gateway_are_not_sent_again(engine: Engine) -> None:
    """Its broker dies too before it has acknowledged them: their producer is not there to bring them again."""
    changes = [Change(0.5305, "kill", "batcher"), Change(0.5306, "kill", "log-1"), Change(0.6, "start", "batcher")]
    keys = {"stations__log__session_timeout_s": 0.1, "stations__log__retry_backoff_s": 0.02}
    trace = play(gateway(**keys), engine, *changes)
    survived = play(gateway(**keys), engine, *changes[1:2])
    assert (trace.outcome == SHED).sum() > 2
    assert (survived.outcome != SHED).all()


@ENGINES
def test_a_drain_that_finds_no_end_is_ended_by_a_kill_and_a_start_ends_it_too(engine: Engine) -> None:
    """Both brokers are dead, so nothing is acknowledged: the gateway drains until it is killed."""
    dead = [Change(0.3, "kill", "log-1"), Change(0.3, "kill", "log-2")]
    scenario = gateway()
    trace = play(scenario, engine, *dead, Change(0.4005, "stop", "batcher"), Change(0.6, "start", "batcher"))
    received = hop_times(scenario, trace, "received")
    assert not ((received > 0.4005) & (received < 0.8)).any()
    assert (received > 0.8).any()
    assert (trace.outcome[received < 0.4] == SHED).any()


@ENGINES
def test_a_start_that_is_stopped_does_not_happen(engine: Engine) -> None:
    scenario = gateway()
    changes = [Change(0.1, "kill", "batcher"), Change(0.2, "start", "batcher"), Change(0.3, "stop", "batcher")]
    trace = play(scenario, engine, *changes)
    assert (trace.frame[100:] == EVENT_SHED).all()


@ENGINES
def test_a_new_gateway_has_room_and_tokens_again(engine: Engine) -> None:
    """A quota of 100 events that hardly fills: a new process gives as many as the first did."""
    quota = {"tenant": 0, "rate_eps": 1e-9, "burst_events": 100.0}
    keys = {"load__tenants": 1, "stations__batcher__admission": {"quotas": [quota], "max_in_flight_events": 150}}
    scenario = gateway(**keys)
    assert (play(scenario, engine).frame >= 0).sum() == 100
    changes = [Change(0.0805, "kill", "batcher"), Change(0.1005, "start", "batcher")]
    trace = play(scenario, engine, *changes)
    assert (trace.frame[301:] >= 0).sum() == 100


@ENGINES
def test_nothing_of_a_dead_gateway_takes_up_room(engine: Engine) -> None:
    """Ten events may be in flight, in one request, which takes 100 ms; the one of the dead gateway does not count."""
    keys = {"stations__batcher__max_events": 1, "stations__log__in_flight": 1, "stations__log__partitions": 1}
    keys |= {"stations__batcher__admission": {"max_in_flight_events": 10}}
    scenario = gateway(**keys, stations__batcher__recovery={"restart_s": 0.01})
    trace = play(scenario, engine, Change(0.2505, "kill", "batcher"), Change(0.2505, "start", "batcher"))
    new = hop_times(scenario, trace, "received") > 0.2605
    answers = np.unique(hop_times(scenario, trace, "acked")[new])
    assert answers[0] == pytest.approx(0.361)
    assert len(answers) > 5
    assert np.diff(answers).min() > 0.099  # one at a time


@ENGINES
def test_messages_that_wait_for_the_gateway_are_taken_by_one_that_drains(engine: Engine) -> None:
    """Its thread takes 2 ms a message, of which two are waiting at a time: their frames do not linger for ten seconds."""
    scenario = gateway(stations__batcher__receive={"job_s": 0.002}, stations__batcher__linger_s=10.0)
    trace = play(scenario, engine, Change(0.1005, "stop", "batcher"))
    assert (trace.frame[:101] >= 0).all()
    closed = hop_times(scenario, trace, "closed")
    assert closed.max() == pytest.approx(0.202)
    assert (trace.outcome == OK).all()


@ENGINES
def test_a_dead_gateway_has_no_background_jobs_and_a_new_one_is_cold(engine: Engine) -> None:
    job = {"every_s": 0.01, "demand": {"job_s": 0.001}}
    cold = {"job_s": 0.0001, "cold_s": 0.01, "cold_tau_s": 1e9}  # of the first job of a process alone
    scenario = gateway(stations__batcher__background=[job], stations__batcher__receive=cold)
    busy_s = [
        play(scenario, engine, *changes).cpu_s[processes(scenario).index("batcher")].sum()
        for changes in ([], [Change(0.2505, "kill", "batcher"), Change(0.5505, "start", "batcher")])
    ]
    assert busy_s[1] - busy_s[0] == pytest.approx(0.01 - 50 * 0.001 - 500 * 0.0001, abs=0.0025)


@ENGINES
def test_acknowledgements_that_are_kept_back_die_with_the_gateway(engine: Engine) -> None:
    rules = {"max_in_flight_events": 10_000, "backpressure": {"high_events": 10, "low_events": 1, "poll_s": 0.05}}
    rules["backpressure"]["hold_acks"] = True  # type: ignore[index]
    keys = {"stations__batcher__admission": rules, "stations__group__process": {"event_s": 0.01}}
    scenario = gateway(**keys, stations__source__retry=RETRY)
    trace = play(scenario, engine, Change(0.5305, "kill", "batcher"), Change(0.6005, "start", "batcher"))
    acked = hop_times(scenario, trace, "acked")[trace.frame[350:380]]
    assert ((acked > 0.45) & (acked < 0.5305)).all()
    assert trace.sends[350:380].min() > 1  # nobody was told
    assert trace.sends[350:380].max() < 21  # until a copy was acknowledged to the new one
    assert set(trace.outcome) <= {OK, SHED, 0}


@ENGINES
def test_a_stopped_pool_brings_to_an_end_what_it_has_and_lets_others_wait(engine: Engine) -> None:
    pool = {"kind": "pool", "host": "ample", "hop": "priced", "demand": {"job_s": 0.02}, "recovery": {"restart_s": 0.1}}
    keys = {"load__rate_eps": 20.0, "stations__group__calls": ["pool"], "stations__pool": pool}
    scenario = gateway(**keys, stations__batcher__max_events=1)
    stop = play(scenario, engine, Change(0.515, "stop", "pool"), Change(0.7, "start", "pool"))
    priced = hop_times(scenario, stop, "priced")
    assert ((priced > 0.515) & (priced < 0.53)).sum() == 1  # what it was at
    assert not ((priced > 0.53) & (priced < 0.8)).any()
    assert (stop.outcome == OK).all()
    kill = play(scenario, engine, Change(0.515, "kill", "pool"), Change(0.7, "start", "pool"))
    priced = hop_times(scenario, kill, "priced")
    assert not ((priced > 0.515) & (priced < 0.8)).any()


@ENGINES
def test_a_store_that_was_stopped_in_order_has_nothing_to_redo(engine: Engine) -> None:
    """It holds 10 events that took effect since its last checkpoint, each of which takes 20 ms to redo after a kill."""
    store = {"kind": "store", "host": "ample", "hop": "stored", "recovery": {"restart_s": 0.1, "redo_event_s": 0.02}}
    keys = {"load__rate_eps": 20.0, "stations__group__calls": ["store"], "stations__store": store}
    scenario = gateway(**keys, stations__batcher__linger_s=0.0, stations__log__replication={})
    for operation, first_s in (("stop", 0.8), ("kill", 1.02)):
        trace = play(scenario, engine, Change(0.525, operation, "store"), Change(0.7, "start", "store"))
        stored = hop_times(scenario, trace, "stored")
        assert stored[stored > 0.55].min() == pytest.approx(first_s)


@ENGINES
def test_a_store_that_drains_still_is_killed_by_its_start(engine: Engine) -> None:
    """Its poll takes 1 s of its thread, which is lost: the poll is brought again."""
    store = {"kind": "store", "host": "ample", "hop": "stored", "demand": {"job_s": 1.0}}
    keys = {"load__rate_eps": 1.0, "stations__group__calls": ["store"], "stations__log__replication": {}}
    scenario = gateway(
        **keys, stations__batcher__linger_s=0.0, stations__store=store | {"recovery": {"restart_s": 0.1}}
    )
    trace = play(scenario, engine, Change(0.5, "stop", "store"), Change(0.7, "start", "store"))
    assert hop_times(scenario, trace, "stored") == pytest.approx([2.0])


def test_only_what_has_a_recovery_can_be_stopped_killed_and_started() -> None:
    plan = prepare(bare(), seconds=1.0, seed=1)
    for operation in ("kill", "start", "stop"):
        with pytest.raises(InputError, match=f"{operation}: must be of a .*, got 'batcher'"):
            run(plan, engine="reference", changes=[Change(0.0, operation, "batcher")])


def test_a_look_finds_what_a_killed_gateway_had_as_shed_at_once() -> None:
    plan = prepare(gateway(), seconds=1.0, seed=1)
    simulation = start(plan, engine="reference")
    simulation.advance(0.5305)
    before = account(plan, simulation.view())
    simulation.apply(Change(0.5305, "kill", "batcher"))
    after = account(plan, simulation.view())
    assert (after.fate == IN_FLIGHT).sum() < (before.fate == IN_FLIGHT).sum()

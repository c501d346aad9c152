"""What users see when brokers fail: the stories that the log's keys and changes tell, the same in both engines."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from sentra_sim.engine import Change, Trace, prepare, run
from sentra_sim.engine.run import Engine
from sentra_sim.engine.trace import LOST, OK, SHED
from sentra_sim.errors import InputError
from sentra_sim.scenario import processes
from tests.pipelines import bare, hop_times

THREE = {
    "load.rate_eps": 20.0,
    "stations.log.partitions": 3,
    "stations.log.brokers": 3,
    "stations.log.replication_factor": 3,
    "stations.log.min_insync_replicas": 2,
    "stations.log.in_flight": 5,
}


def log_keys(**keys: Any) -> dict[str, Any]:
    return {f"stations.log.{key}": value for key, value in keys.items()}


def play(changes: Sequence[Change], keys: Mapping[str, Any] = {}, *, engine: Engine = "compiled") -> Trace:
    plan = prepare(bare(THREE | dict(keys)), seconds=30.0, seed=1)
    return run(plan, engine=engine, changes=changes)


def acked(trace: Trace) -> np.ndarray:
    return hop_times(bare(THREE), trace, "acked")


def led_by(trace: Trace, broker: int) -> np.ndarray:
    return trace.partition == broker - 1


def longest_wait_s(trace: Trace) -> float:
    return float(np.nanmax(acked(trace) - trace.hops_s[:, 1]))


def cpu_s(trace: Trace, process: str) -> float:
    return float(trace.cpu_s[processes(bare(THREE)).index(process)].sum())


def gone(trace: Trace, outcome: int) -> int:
    return int((trace.outcome == outcome).sum())


def test_a_dead_leaders_partitions_stand_still_until_its_session_ends_and_nothing_is_lost() -> None:
    trace = play([Change(5.01, "kill", "log-2")])
    waiting = (acked(trace) > 5.01) & (acked(trace) < 14.01)
    late = (acked(trace) >= 14.01) & (acked(trace) < 15.1)
    assert (late & led_by(trace, 2)).sum() > 50  # the new leader takes them with the producer's next attempt
    assert not waiting.any()  # the others wait for a follower that is in sync until the controller notices
    early = play([Change(5.01, "kill", "log-2")], log_keys(acks="leader"))
    waiting = (acked(early) > 5.01) & (acked(early) < 14.01)
    assert (waiting & ~led_by(early, 2)).sum() > 50
    assert not (waiting & led_by(early, 2)).any()
    assert gone(trace, OK) == len(trace.events) == 600
    assert (np.diff(trace.hops_s[led_by(trace, 2), 3]) >= 0.0).all()  # in order


def test_a_session_timeout_and_a_back_off_are_how_long_producers_wait() -> None:
    waits_s = [
        longest_wait_s(play([Change(5.01, "kill", "log-2")], log_keys(**keys)))
        for keys in ({}, {"session_timeout_s": 3.0}, {"session_timeout_s": 3.0, "retry_backoff_max_s": 0.1})
    ]
    assert waits_s[0] > 8.5
    assert 4.1 > waits_s[1] > waits_s[2] > 2.9


def test_without_the_controller_a_failover_waits_for_a_new_one() -> None:
    keys = log_keys(controller_election_s=4.0)
    other, its_own = (longest_wait_s(play([Change(5.01, "kill", broker)], keys)) for broker in ("log-2", "log-1"))
    apart = longest_wait_s(play([Change(5.01, "kill", "log-1")], keys | log_keys(controller=0)))
    assert its_own == pytest.approx(other + 4.0, abs=1.1)
    assert apart == pytest.approx(other, abs=0.2)


@pytest.mark.parametrize(("acks", "lost"), [("all", False), ("leader", True), ("none", True)])
def test_what_a_dead_leader_alone_had_acknowledged_is_lost(acks: str, lost: bool) -> None:
    """Followers take 6 ms a request, so there is always something that only the leader has."""
    keys = {"load.rate_eps": 200.0} | log_keys(acks=acks, replicate={"job_s": 0.006}, fetch={"mean_s": 0.2})
    trace = play([Change(5.002, "kill", "log-2")], keys)
    victims = trace.outcome == LOST
    assert victims.any() == lost
    assert not np.isnan(acked(trace)[victims]).any()
    assert np.isnan(trace.hops_s[victims, 3]).all()
    assert gone(trace, OK) + victims.sum() == len(trace.events)


def test_requests_without_acknowledgements_die_in_the_brokers_queue() -> None:
    keys = {"load.rate_eps": 200.0} | log_keys(acks="none", append={"job_s": 0.1})
    trace = play([Change(5.001, "kill", "log-2")], keys)
    np.testing.assert_array_equal(acked(trace)[acked(trace) < 5.0], trace.hops_s[acked(trace) < 5.0, 1])
    assert gone(trace, LOST) > 200  # appended one in 0.1 s, sent 66 a second for 5 s


def test_below_the_least_in_sync_replicas_requests_are_refused_until_a_broker_is_back() -> None:
    dead = [Change(5.01, "kill", "log-2"), Change(5.01, "kill", "log-3")]
    assert np.nanmax(acked(play(dead))) < 14.1  # partitions whose two replicas left are one too few
    assert np.nanmax(acked(play(dead, log_keys(min_insync_replicas=1)))) > 29.0
    back = play([*dead, Change(16.0, "start", "log-3")])
    assert gone(back, OK) == 600
    assert longest_wait_s(back) > 6.0


def test_what_cannot_be_sent_for_too_long_is_shed() -> None:
    dead = [Change(5.01, "kill", "log-2"), Change(5.01, "kill", "log-3"), Change(16.0, "start", "log-3")]
    trace = play(dead, log_keys(delivery_timeout_s=4.0))
    assert gone(trace, SHED) > 100
    assert gone(trace, SHED) + gone(trace, OK) == 600
    assert np.isnan(acked(trace)[trace.outcome == SHED]).all()
    assert longest_wait_s(trace) < 4.0


def test_a_broker_that_is_back_catches_up_and_leads_again() -> None:
    outage = [Change(5.01, "kill", "log-2"), Change(6.0, "start", "log-2")]
    led = log_keys(append={"job_s": 1e-3})
    never, soon = (cpu_s(play(outage, led | log_keys(preferred_election_s=wait_s)), "log-2") for wait_s in (300.0, 2.0))
    assert never == pytest.approx(5.01 * 20 / 3 * 1e-3, abs=2e-3)  # what it appended before
    assert soon > 2.0 * never
    follows = log_keys(replicate={"frame_s": 1e-3})
    both = (5.0 * 2 / 3 + 25.0) * 20 * 1e-3  # it followed two partitions, caught up with three, and followed them
    assert cpu_s(play(outage, follows), "log-2") == pytest.approx(both, rel=0.05)


def test_a_pause_that_is_shorter_than_the_session_moves_no_leader() -> None:
    trace = play([Change(5.01, "pause", "log-2"), Change(8.0, "resume", "log-2")], log_keys(append={"job_s": 1e-3}))
    assert 2.5 < longest_wait_s(trace) < 4.1
    assert cpu_s(trace, "log-2") == pytest.approx(0.2, abs=0.01)
    assert gone(trace, OK) == 600


@pytest.mark.parametrize(("acks", "lost"), [("leader", True), ("all", False)])
def test_a_leader_cut_off_from_its_followers_acknowledges_what_will_be_lost(acks: str, lost: bool) -> None:
    trace = play(
        [Change(5.01, "partition", "log-2"), Change(20.0, "heal", "log-2")], log_keys(acks=acks, high_watermark=True)
    )
    sent_s = trace.hops_s[:, 1]
    cut_off = (sent_s > 5.01) & (sent_s < 14.01) & led_by(trace, 2)
    assert gone(trace, LOST) == (cut_off.sum() if lost else 0)
    assert (longest_wait_s(trace) > 8.0) != lost
    assert gone(trace, LOST) + gone(trace, OK) == 600


def test_consumers_see_only_what_all_in_sync_replicas_have() -> None:
    keys = log_keys(acks="leader", replicate={"job_s": 0.02})
    early, late = (play([], keys | log_keys(high_watermark=on)) for on in (False, True))
    assert np.median(early.hops_s[:, 3] - acked(early)) < 1e-6
    assert np.median(late.hops_s[:, 3] - acked(late)) > 0.019


def test_a_slow_broker_slows_what_it_leads_and_what_it_follows() -> None:
    trace = play([Change(10.01, "slow", "log-2", 0.05), Change(20.01, "heal", "log-2")])
    wait_s, sent_s = acked(trace) - trace.hops_s[:, 1], trace.hops_s[:, 1]
    slow = (sent_s > 10.01) & (sent_s < 20.01)
    assert wait_s[slow & led_by(trace, 1)] == pytest.approx(0.05)
    assert wait_s[~slow].max() < 1e-6


def test_an_unclean_leader_ends_an_outage_at_the_price_of_what_it_had_not() -> None:
    """Broker 2 alone leads its partition, dies; broker 3, dead since before, comes back without what was written since."""
    events = [Change(2.0, "kill", "log-3"), Change(15.01, "kill", "log-2"), Change(16.0, "start", "log-3")]
    keys = log_keys(replication_factor=2, min_insync_replicas=1, fetch={"mean_s": 3.0})
    clean, unclean = (play(events, keys | log_keys(unclean_election=on)) for on in (False, True))
    assert gone(clean, LOST) == 0
    assert np.nanmax(acked(clean)[led_by(clean, 2)]) < 15.1
    assert gone(unclean, LOST) > 10
    assert np.nanmax(acked(unclean)[led_by(unclean, 2)]) > 29.0


def test_a_follower_that_lags_for_too_long_is_waited_for_no_more() -> None:
    slow = [Change(5.01, "slow", "log-2", 3.0), Change(25.01, "heal", "log-2")]
    for lag_s, wait_s in ((0.0, 3.0), (2.0, 0.0)):
        trace = play(slow, log_keys(in_flight=1_000_000, replica_lag_s=lag_s))
        sent_s = trace.hops_s[:, 1]
        later = (sent_s > 9.0) & (sent_s < 25.0) & led_by(trace, 1)
        assert (acked(trace) - sent_s)[later] == pytest.approx(wait_s, abs=1e-6)


def test_a_disk_bounds_what_a_broker_takes() -> None:
    """20 events a second of 64 bytes, thrice: 1,280 bytes a second on each broker."""
    enough, half = (longest_wait_s(play([], log_keys(disk_bytes_per_s=rate))) for rate in (5_000.0, 640.0))
    assert enough < 0.1
    assert half > 10.0


def test_a_dead_broker_runs_no_background_jobs() -> None:
    keys = {"stations.log.background": [{"every_s": 0.1, "demand": {"job_s": 0.01}}]}
    trace = play([Change(10.0, "kill", "log-2"), Change(15.0, "start", "log-2")], keys)
    assert cpu_s(trace, "log-1") == pytest.approx(3.0, abs=0.02)
    assert cpu_s(trace, "log-2") == pytest.approx(2.0, abs=0.02)  # killed at 10 s, registered again at 20 s


def test_the_stories_are_the_same_in_the_reference_engine() -> None:
    changes = [
        Change(2.003, "kill", "log-1"),
        Change(6.0, "partition", "log-2"),
        Change(9.0, "start", "log-1"),
        Change(21.0, "heal", "log-2"),
        Change(23.0, "slow", "log-3", 0.02),
        Change(25.0, "pause", "log-3"),
        Change(25.5, "resume", "log-3"),
    ]
    for acks in ("all", "leader", "none"):
        keys = log_keys(acks=acks, replicate={"job_s": 0.02}, preferred_election_s=1.0, replica_lag_s=1.0)
        one, other = (play(changes, keys, engine=engine) for engine in ("compiled", "reference"))
        np.testing.assert_array_equal(one.hops_s, other.hops_s)
        np.testing.assert_array_equal(one.outcome, other.outcome)
        np.testing.assert_array_equal(one.cpu_s, other.cpu_s)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (Change(1.0, "heal", "group"), "heal: must be of a broker, got 'group'; valid names: log-1, log-2, log-3"),
        (Change(1.0, "slow", "log-1", -1.0), "slow: log-1: must be a latency >= 0 s, got -1.0"),
    ],
)
def test_a_change_that_no_broker_can_make_is_refused(change: Change, message: str) -> None:
    with pytest.raises(InputError, match=message):
        play([change])


def test_a_broker_that_was_cut_off_before_the_load_began_catches_up() -> None:
    start = [Change(0.0, "partition", "log-2"), Change(0.0, "heal", "log-2")]
    for engine in ("compiled", "reference"):
        assert gone(play(start, engine=engine), OK) == 600

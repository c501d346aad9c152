"""What each kind of station does, on pipelines small enough to follow with a pencil; both engines."""

from typing import Any

import numpy as np
import pytest

from sentra_sim.engine import Trace, prepare, run
from sentra_sim.scenario import Scenario, processes
from tests.pipelines import bare, event_times, hop_times

MS = 1e-3
BATCH = {"stations.batcher.max_events": 3, "stations.batcher.linger_s": 10 * MS}  # a size that two events do not reach
STORE = {"stations.store": {"kind": "store", "host": "ample", "hop": "stored"}, "stations.group.calls": ["store"]}


@pytest.fixture(params=["compiled", "reference"])
def engine(request: pytest.FixtureRequest) -> Any:
    return request.param


def play(scenario: Scenario, engine: Any, *, seconds: float) -> Trace:
    return run(prepare(scenario, seconds=seconds, seed=1), engine=engine)


def busy_s(scenario: Scenario, trace: Trace) -> dict[str, float]:
    return dict(zip(processes(scenario), trace.cpu_s.sum(axis=1), strict=True))


def close_to(*times_s: float) -> Any:
    return pytest.approx(list(times_s), abs=1e-9)


def test_one_event_passes_every_station(engine: Any) -> None:
    """Send 1 ms, network 2, receive 3, close 4, append 5, fetch delay 6, fetch 7, process 8, store 9 and its delay 10."""
    scenario = bare(
        STORE
        | {
            "stations.source.send": {"job_s": 0.6 * MS, "event_s": 0.4 * MS},
            "stations.batcher.network": {"mean_s": 2 * MS},
            "stations.batcher.receive": {"job_s": 3 * MS},
            "stations.batcher.close": {"frame_s": 4 * MS},
            "stations.log.append": {"job_s": 5 * MS},
            "stations.log.fetch": {"mean_s": 6 * MS},
            "stations.group.fetch": {"job_s": 7 * MS},
            "stations.group.process": {"frame_s": 5 * MS, "event_s": 3 * MS},
            "stations.store.demand": {"job_s": 9 * MS},
            "stations.store.delay": {"mean_s": 10 * MS},
        }
    )
    trace = play(scenario, engine, seconds=0.1)
    assert trace.hops_s[0] == close_to(6 * MS, 6 * MS, 15 * MS, 28 * MS, 55 * MS)
    assert busy_s(scenario, trace) == pytest.approx(
        {"source": 1 * MS, "batcher": 7 * MS, "log-1": 5 * MS, "group": 15 * MS, "store": 9 * MS}
    )


def test_a_frame_closes_when_its_linger_is_over_and_no_later(engine: Any) -> None:
    """Events at 0, 4, 8, 12 ms: the first frame takes those up to 10 ms after its first."""
    scenario = bare({"load.rate_eps": 250.0, "stations.batcher.max_events": 100, "stations.batcher.linger_s": 10 * MS})
    trace = play(scenario, engine, seconds=16 * MS)
    assert trace.events.tolist() == [3, 1]
    assert hop_times(scenario, trace, "received") == close_to(0.0, 12 * MS)
    assert hop_times(scenario, trace, "closed") == close_to(10 * MS, 22 * MS)


def test_one_timer_closes_what_is_due_and_one_request_a_leader_carries_it(engine: Any) -> None:
    """Two partitions open within 8 ms; the timer fires 12 ms late, so the second linger is over as well: one closing, one request."""
    changes = {
        "load.rate_eps": 250.0,
        "stations.log.partitions": 2,
        "stations.log.append": {"job_s": 2 * MS},
        "load.keys": 2,
    }
    late = {"stations.batcher.max_events": 100, "stations.batcher.linger_s": 10 * MS}
    scenario = bare(
        changes | late | {"stations.batcher.timer": {"mean_s": 12 * MS}, "stations.batcher.close": {"job_s": 1 * MS}}
    )
    trace = play(scenario, engine, seconds=10 * MS)
    assert set(trace.partition.tolist()) == {0, 1}
    assert hop_times(scenario, trace, "closed") == close_to(22 * MS, 22 * MS)
    assert hop_times(scenario, trace, "acked") == close_to(25 * MS, 25 * MS)


def test_the_edge_takes_a_poll_over_after_a_delay(engine: Any) -> None:
    stations = {
        "stations.group.calls": ["store"],
        "stations.store": {"kind": "store", "host": "ample", "hop": "stored", "to": ["edge"]},
        "stations.edge": {
            "kind": "broadcast",
            "host": "ample",
            "subscriber_host": "ample",
            "handover": {"mean_s": 3 * MS},
            "send": {"job_s": 1 * MS},
        },
    }
    trace = play(scenario := bare(stations), engine, seconds=0.05)
    assert hop_times(scenario, trace, "stored") == close_to(0.0)
    assert hop_times(scenario, trace, "sent") == close_to(4 * MS)


def test_a_full_frame_closes_at_once_and_its_linger_no_longer_counts(engine: Any) -> None:
    scenario = bare({"load.rate_eps": 250.0, "stations.batcher.max_events": 2, "stations.batcher.linger_s": 10 * MS})
    trace = play(scenario, engine, seconds=12 * MS)
    assert trace.events.tolist() == [2, 1]
    assert hop_times(scenario, trace, "closed") == close_to(4 * MS, 18 * MS)


def test_a_message_is_split_by_partition(engine: Any) -> None:
    changes = {
        "load.rate_eps": 1000.0,
        "load.tick_s": 0.01,
        "stations.log.partitions": 3,
        "stations.batcher.max_events": 50,
    }
    plan = prepare(bare(changes), seconds=0.1, seed=1)
    trace = run(plan, engine=engine)
    np.testing.assert_array_equal(trace.partition[trace.frame], plan.partition)
    assert sorted(np.unique(trace.partition)) == [0, 1, 2]


def test_the_batcher_has_one_thread_for_messages_and_frames(engine: Any) -> None:
    """Closing takes 6 ms, a message comes every 4 ms: the second message waits for the first frame to be sent."""
    scenario = bare({"load.rate_eps": 250.0, "stations.batcher.close": {"job_s": 6 * MS}})
    trace = play(scenario, engine, seconds=8 * MS)
    assert hop_times(scenario, trace, "received") == close_to(0.0, 6 * MS)
    assert hop_times(scenario, trace, "acked") == close_to(6 * MS, 12 * MS)


def test_frames_gather_while_a_request_is_outstanding(engine: Any) -> None:
    """One request in flight, each taking 10 ms: of frames at 0, 4, 8, 12 ms the second request carries two."""
    changes = {"load.rate_eps": 250.0, "stations.log.in_flight": 1, "stations.log.append": {"job_s": 10 * MS}}
    trace = play(bare(changes), engine, seconds=16 * MS)
    assert hop_times(bare(changes), trace, "acked") == close_to(10 * MS, 20 * MS, 20 * MS, 30 * MS)


@pytest.mark.parametrize(("acks", "acked_ms"), [("all", 3 + 5 + 7), ("leader", 3)])
def test_acks_decide_whether_followers_are_waited_for(engine: Any, acks: str, acked_ms: float) -> None:
    """Append 3 ms, the followers 5 ms side by side, then 7 ms; the followers' CPU is spent either way."""
    scenario = bare(
        {
            "stations.log.brokers": 3,
            "stations.log.replication_factor": 3,
            "stations.log.min_insync_replicas": 2,
            "stations.log.acks": acks,
            "stations.log.append": {"job_s": 3 * MS},
            "stations.log.replicate": {"job_s": 5 * MS},
            "stations.log.replication": {"mean_s": 7 * MS},
        }
    )
    trace = play(scenario, engine, seconds=0.1)
    assert hop_times(scenario, trace, "acked") == close_to(acked_ms * MS)
    assert [busy_s(scenario, trace)[f"log-{number}"] for number in (1, 2, 3)] == close_to(3 * MS, 5 * MS, 5 * MS)


def test_a_poll_takes_whole_frames_up_to_its_limit_but_at_least_one(engine: Any) -> None:
    """Frames of 3 events become ready while the first poll is at work; polls of at most 6 events take two, of 2 events one."""
    changes = {"load.rate_eps": 1000.0, "load.tick_s": 3 * MS, "stations.group.process": {"job_s": 20 * MS}} | BATCH
    for limit, polls in ((6, [0, 1, 1, 2, 2, 3, 3, 4]), (2, [0, 1, 2, 3, 4, 5, 6, 7])):
        scenario = bare(changes | {"stations.group.max_poll_events": limit})
        trace = play(scenario, engine, seconds=22 * MS)
        assert trace.events.tolist() == [3] * 7 + [1]
        assert trace.poll.tolist() == polls


def test_an_idle_replica_gathers_but_one_with_a_backlog_does_not_wait(engine: Any) -> None:
    """An event each ms; the first waits 5.5 ms for company, then work of 20 ms lets a backlog grow that is taken at once."""
    changes = {
        "load.rate_eps": 1000.0,
        "stations.group.gather_s": 5.5 * MS,
        "stations.group.process": {"job_s": 20 * MS},
    }
    trace = play(scenario := bare(changes), engine, seconds=22.5 * MS)
    started = np.unique(hop_times(scenario, trace, "started"))
    assert started == close_to(5.5 * MS, 25.5 * MS)
    assert np.bincount(trace.poll).tolist() == [6, 17]


def test_what_a_replica_finishes_with_delays_its_next_poll_but_not_this_one(engine: Any) -> None:
    changes = {
        "load.rate_eps": 1000.0,
        "stations.group.process": {"job_s": 1 * MS},
        "stations.group.finish": {"job_s": 4 * MS},
    }
    trace = play(scenario := bare(changes), engine, seconds=2.5 * MS)
    assert trace.poll.tolist() == [0, 1, 1]
    assert hop_times(scenario, trace, "started") == close_to(0.0, 5 * MS, 5 * MS)
    assert [busy_s(scenario, trace)["group"]] == close_to(10 * MS)


def test_a_replica_owns_its_partitions_alone(engine: Any) -> None:
    changes = {"load.rate_eps": 1000.0, "stations.log.partitions": 4, "stations.group.replicas": 2}
    scenario = bare(changes | {"stations.group.process": {"job_s": 1.5 * MS}})
    trace = play(scenario, engine, seconds=0.2)
    started = hop_times(scenario, trace, "started")
    for replica in (0, 1):
        polls = np.unique(started[trace.partition % 2 == replica])
        assert (np.diff(polls) >= 1.5 * MS - 1e-9).all()
    assert busy_s(scenario, trace)["group"] > 0.2  # more than one thread alone can spend


def test_calls_are_made_one_after_another_and_their_successors_are_not_waited_for(engine: Any) -> None:
    scenario = bare(
        {
            "stations.group.calls": ["first", "second"],
            "stations.first": {
                "kind": "pool",
                "host": "ample",
                "demand": {"job_s": 2 * MS},
                "hop": "one",
                "to": ["behind"],
            },
            "stations.behind": {"kind": "store", "host": "ample", "demand": {"job_s": 50 * MS}, "hop": "late"},
            "stations.second": {"kind": "store", "host": "ample", "delay": {"mean_s": 3 * MS}, "hop": "two"},
        }
    )
    trace = play(scenario, engine, seconds=0.1)
    assert trace.hops_s[0] == close_to(0.0, 0.0, 0.0, 0.0, 2 * MS, 52 * MS, 5 * MS)


def test_a_store_that_flushes_writes_what_has_gathered_at_most_once_a_period(engine: Any) -> None:
    """Polls every 10 ms from 0 on, a write every 24 ms from 24 ms on: each makes visible what came before it started."""
    changes = {"load.rate_eps": 100.0, "stations.store.flush_s": 24 * MS, "stations.store.demand": {"job_s": 1 * MS}}
    scenario = bare(
        {
            "stations.group.calls": ["pool"],
            "stations.pool": {"kind": "pool", "host": "ample", "hop": "pooled", "to": ["store"]},
        }
        | {"stations.store": {"kind": "store", "host": "ample", "hop": "stored"}}
        | changes
    )
    trace = play(scenario, engine, seconds=59 * MS)
    assert hop_times(scenario, trace, "stored") == close_to(*(time * MS for time in (25, 25, 25, 49, 49, 73)))
    assert busy_s(scenario, trace)["store"] == pytest.approx(3 * MS)


def test_a_broadcast_sends_then_the_subscriber_receives(engine: Any) -> None:
    edge = {
        "kind": "broadcast",
        "host": "ample",
        "subscriber_host": "box",
        "send": {"job_s": 2 * MS},
        "network": {"mean_s": 3 * MS},
        "receive": {"job_s": 4 * MS},
    }
    scenario = bare(STORE | {"stations.edge": edge, "stations.store.to": ["edge"]})
    trace = play(scenario, engine, seconds=0.1)
    assert hop_times(scenario, trace, "sent") == close_to(2 * MS)
    assert hop_times(scenario, trace, "delivered") == close_to(9 * MS)
    assert busy_s(scenario, trace)["subscriber"] == pytest.approx(4 * MS)
    assert trace.host_busy_s.sum(axis=1) == close_to(2 * MS, 4 * MS)


def test_a_thread_that_slept_pays_the_cold_term(engine: Any) -> None:
    """The first job pays it whole; one 90 ms after the last with a time constant of 10 ms pays nine tenths."""
    receive = {"job_s": 10 * MS, "cold_s": 5 * MS, "cold_tau_s": 10 * MS}
    scenario = bare({"stations.batcher.receive": receive})
    trace = play(scenario, engine, seconds=0.15)
    gap_s = 100 * MS - 15 * MS
    second_s = 100 * MS + 10 * MS + 5 * MS * gap_s / (gap_s + 10 * MS)
    # The close job between the two, free itself, ends at 15 ms and restarts the gap.
    assert hop_times(scenario, trace, "received") == close_to(15 * MS, second_s)


def test_background_jobs_take_turns_with_the_stations_own_until_the_load_stops(engine: Any) -> None:
    scenario = bare({"stations.group.background": [{"every_s": 0.1, "demand": {"job_s": 10 * MS}}]})
    trace = play(scenario, engine, seconds=3.0)
    assert busy_s(scenario, trace)["group"] == pytest.approx(30 * 10 * MS)
    assert trace.cpu_s.shape[1] == 3
    assert trace.cpu_s.sum(axis=0) == close_to(0.1, 0.1, 0.1)


@pytest.mark.parametrize(
    ("host", "done_ms"),
    [
        ({"slice_s": 1.0}, (10, 20)),  # one after the other
        ({"slice_s": 2 * MS}, (14, 20)),  # first alone for three slices, then in turns
        ({"discipline": "ps"}, (15, 20)),  # first alone for 5 ms, then both at half speed, then second alone
        ({"cores": 2, "discipline": "ps"}, (10, 15)),
        ({"cores": 2}, (10, 15)),
    ],
)
def test_two_jobs_share_a_host(engine: Any, host: dict[str, Any], done_ms: tuple[float, float]) -> None:
    """Two threads of a broker, each with an append of 10 ms, the first from 0 ms, the second from 5 ms on."""
    scenario = bare(
        {
            "load.rate_eps": 200.0,
            "hosts.box": {"cores": 1} | host,
            "stations.log.host": "box",
            "stations.log.threads": 2,
            "stations.log.append": {"job_s": 10 * MS},
        }
    )
    trace = play(scenario, engine, seconds=10 * MS)
    assert hop_times(scenario, trace, "acked") == close_to(*(time * MS for time in done_ms))


@pytest.mark.parametrize("discipline", ["fifo-slice", "ps"])
def test_low_priority_work_yields_at_once(engine: Any, discipline: str) -> None:
    """A low-priority job of 50 ms runs from 0 ms; a normal one of 1 ms comes every 10 ms and is never kept waiting."""
    scenario = bare(
        {
            "load.rate_eps": 100.0,
            "hosts.box": {"cores": 1, "discipline": discipline, "slice_s": 1.0},
            "stations.batcher.host": "box",
            "stations.batcher.receive": {"job_s": 1 * MS},
            "stations.group.host": "box",
            "stations.group.low_priority": True,
            "stations.group.fetch": {"job_s": 50 * MS},
        }
    )
    trace = play(scenario, engine, seconds=0.1)
    assert hop_times(scenario, trace, "received") == close_to(*(0.01 * number + 1 * MS for number in range(10)))
    # 50 ms of its own, and the five normal jobs of 1 ms that came while it ran.
    assert hop_times(scenario, trace, "started")[0] == pytest.approx(1 * MS + 50 * MS + 5 * MS)


def test_what_is_not_delivered_in_time_stays_so(engine: Any) -> None:
    """A log that needs a second an event gets 11 of 20 done until the run is cut off, 10 s after the load."""
    scenario = bare({"stations.log.append": {"job_s": 1.0}})
    trace = play(scenario, engine, seconds=2.0)
    assert trace.cpu_s.shape[1] == 12
    acked = hop_times(scenario, trace, "acked")
    assert np.isfinite(acked).sum() == 11
    assert np.isnan(event_times(scenario, trace, "started")).sum() == 9
    assert trace.poll.tolist() == [*range(11), *[-1] * 9]


def test_events_that_the_batcher_never_reached_have_no_frame(engine: Any) -> None:
    scenario = bare({"stations.batcher.receive": {"job_s": 1.0}})
    trace = play(scenario, engine, seconds=2.0)
    assert (trace.frame[:11] >= 0).all()
    assert (trace.frame[11:] == -1).all()
    assert np.isnan(event_times(scenario, trace, "received")[11:]).all()


def test_a_run_without_load_is_an_empty_trace(engine: Any) -> None:
    trace = play(bare(), engine, seconds=0.0)
    assert trace.hops_s.shape == (0, 4)
    assert trace.frame.shape == (0,)
    assert trace.cpu_s.shape == (5 - 1, 0)

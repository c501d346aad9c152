"""What the engines' stores do: connections, group commit, checkpoints, the outbox relay, commands that block, parts, kills."""

from typing import Any

import numpy as np
import pytest

from sentra_sim.engine import Change, Trace, prepare, run, simulate
from sentra_sim.engine.tallies import tally_names
from sentra_sim.errors import InputError, ScenarioError
from sentra_sim.scenario import Scenario
from tests.pipelines import bare, hop_times

BEHIND = {"kind": "store", "host": "ample", "hop": "behind"}


def pipeline(store: dict[str, Any], *, workers: int = 1, rate_eps: float = 10.0, **changes: Any) -> Scenario:
    """Workers that each take one event at a time and wait for the store."""
    return bare(
        {
            "load.rate_eps": rate_eps,
            "stations.log.partitions": workers,
            "stations.group.replicas": workers,
            "stations.group.max_poll_events": 1,
            "stations.group.calls": ["store"],
            "stations.store": {"kind": "store", "host": "ample", "hop": "stored"} | store,
        }
        | changes
    )


def play(scenario: Scenario, seconds: float = 10.0, changes: tuple[Change, ...] = ()) -> Trace:
    return run(prepare(scenario, seconds=seconds, seed=1), changes=changes)


def tally(scenario: Scenario, trace: Trace, name: str) -> float:
    return float(trace.tallies[tally_names(scenario).index(name)])


def waits(scenario: Scenario, trace: Trace) -> np.ndarray:
    """Returns how long each frame was with the store, in order of coming to it."""
    started, stored = hop_times(scenario, trace, "started"), hop_times(scenario, trace, "stored")
    return (stored - started)[np.argsort(started, kind="stable")]


def most_at_once(scenario: Scenario, trace: Trace) -> int:
    """Returns how many commits there were at one moment at most."""
    return int(np.unique(np.round(hop_times(scenario, trace, "stored"), 9), return_counts=True)[1].max())


def test_connections_bound_how_many_polls_wait_for_the_disk() -> None:
    """Eight workers and 10 ms a commit: two connections commit 200 polls/s, whatever the threads."""
    store = {"threads": 8, "delay": {"mean_s": 0.01}}
    rates = {}
    for connections in (0, 2):
        scenario = pipeline(store | {"connections": connections}, workers=8, rate_eps=400.0)
        stored = hop_times(scenario, play(scenario, seconds=2.0), "stored")
        rates[connections] = (stored < 2.0).sum() / 2.0
    assert rates[0] > 390
    assert rates[2] == pytest.approx(200, rel=0.02)


def test_commits_that_wait_for_a_flush_share_the_next() -> None:
    """One flush at a time of 10 ms: a lone worker commits 100 polls/s at best, eight commit far more with as many flushes."""
    commits, flushes = {}, {}
    for workers in (1, 8):
        scenario = pipeline({"threads": 8, "fsync": {"mean_s": 0.01}}, workers=workers, rate_eps=400.0)
        trace = play(scenario, seconds=2.0)
        stored = hop_times(scenario, trace, "stored")
        commits[workers] = (stored < 2.0).sum()
        flushes[workers] = len(np.unique(np.round(stored[stored < 2.0], 6)))
        assert (np.diff(np.unique(np.round(stored, 6))) > 0.0099).all()
    assert commits[1] <= 200
    assert commits[8] > 3.5 * commits[1]
    assert flushes[8] <= 200


def test_a_flush_waits_for_siblings_only_if_there_are_enough() -> None:
    """A delay of 5 ms before a flush of 1 ms is for nothing alone; with company it makes fewer flushes."""
    store = {"threads": 8, "fsync": {"mean_s": 0.001}, "commit_delay_s": 0.005}
    alone = pipeline(store)
    assert waits(alone, play(alone)) == pytest.approx(0.001)
    forced = pipeline(store | {"commit_siblings": 0})
    assert waits(forced, play(forced)) == pytest.approx(0.006)
    flushes = {}
    for delay_s in (0.0, 0.005):
        scenario = pipeline(store | {"commit_delay_s": delay_s, "commit_siblings": 2}, workers=8, rate_eps=2_000.0)
        flushes[delay_s] = tally(scenario, play(scenario, seconds=2.0), "store.flushes")
    assert flushes[0.005] < 0.8 * flushes[0.0]


def test_fsyncs_stall_while_a_checkpoint_runs() -> None:
    checkpoint = {"every_s": 2.0, "seconds": 0.5, "slowdown": 5.0}
    scenario = pipeline({"fsync": {"mean_s": 0.004}, "checkpoint": checkpoint})
    trace = play(scenario)
    stalled = np.sort(hop_times(scenario, trace, "started")) % 2.0 < 0.5
    stalled &= np.sort(hop_times(scenario, trace, "started")) >= 2.0
    assert waits(scenario, trace)[stalled] == pytest.approx(0.020)
    assert waits(scenario, trace)[~stalled] == pytest.approx(0.004)
    assert tally(scenario, trace, "store.checkpoints") == 4


def test_the_first_change_of_a_page_since_a_checkpoint_writes_it_whole() -> None:
    """Of 10 pages the first event after a checkpoint finds 10 unchanged ones, the next one 9 and so on in the mean."""
    checkpoint = {"every_s": 100.0, "every_events": 50, "pages": 10, "page_s": 0.002}
    scenario = pipeline({"fsync": {"mean_s": 0.001}, "checkpoint": checkpoint})
    trace = play(scenario)
    expected = 0.001 + 0.002 * 0.9 ** (np.arange(100) % 50)
    assert waits(scenario, trace) == pytest.approx(expected)
    assert tally(scenario, trace, "store.checkpoints") == 2
    assert tally(scenario, trace, "store.images") == pytest.approx(2 * 10 * (1 - 0.9**50))


def test_a_relay_makes_what_is_committed_visible_when_it_next_looks() -> None:
    relay = {"poll_s": 0.25, "batch_events": 2, "demand": {"job_s": 0.001}}
    changes = {"stations.behind": BEHIND}
    scenario = pipeline({"relay": relay, "to": ["behind"]}, **changes)
    trace = play(scenario)
    stored, behind = hop_times(scenario, trace, "stored"), hop_times(scenario, trace, "behind")
    assert len(np.unique(np.round(behind, 9))) < len(behind)  # several go with one look
    assert (behind > stored).all()
    assert (behind - stored).max() <= 0.25 + 2 * 0.001 + 1e-9
    assert (behind - stored).mean() > 0.08
    notified = pipeline({"relay": relay | {"notify": True}, "to": ["behind"]}, **changes)
    found = play(notified)
    assert hop_times(notified, found, "behind") - hop_times(notified, found, "stored") == pytest.approx(0.001)


def test_a_relay_takes_no_more_than_a_batch_at_a_time() -> None:
    """Forty events/s, one look a second, four a batch of 1 ms: the last of a look come ten batches after the first."""
    relay = {"poll_s": 1.0, "batch_events": 4, "demand": {"job_s": 0.001}}
    scenario = pipeline({"relay": relay, "to": ["behind"]}, rate_eps=40.0, **{"stations.behind": BEHIND})
    times, sizes = np.unique(np.round(hop_times(scenario, play(scenario), "behind"), 6), return_counts=True)
    assert sizes.max() == 4
    assert np.diff(times).min() == pytest.approx(0.001)


def test_a_command_that_blocks_the_one_thread_delays_who_comes_meanwhile() -> None:
    """Redis forks for a snapshot: 50 ms on its one thread; the child's work costs CPU but nobody's time."""
    store = {
        "demand": {"job_s": 1e-4},
        "blocking": [{"every_s": 1.0, "demand": {"job_s": 0.05}, "child": {"job_s": 0.4}}],
    }
    plain, forking = pipeline({"demand": {"job_s": 1e-4}}, rate_eps=200.0), pipeline(store, rate_eps=200.0)
    calm, stalled = play(plain), play(forking)
    assert waits(plain, calm).max() < 0.001
    assert 0.04 < waits(forking, stalled).max() <= 0.0502
    late = hop_times(forking, stalled, "stored") - hop_times(forking, stalled, "acked") > 0.001
    assert late.mean() == pytest.approx(0.05, abs=0.01)
    assert stalled.cpu_s.sum() - calm.cpu_s.sum() == pytest.approx(10 * 0.45)


MERGES = {"fan_in": 4, "demand": {"event_s": 1e-3}, "parts_to_delay": 1_000, "parts_to_throw": 2_000}


def test_flushes_make_parts_that_merge_tier_by_tier() -> None:
    """Sixty-four parts of one row at four a merge: sixteen, then four, then one merge; each row is merged three times."""
    scenario = pipeline({"flush_s": 0.05, "merges": MERGES})
    trace = play(scenario, seconds=6.35)
    counted = {name: tally(scenario, trace, f"store.{name}") for name in ("inserts", "merges", "merged_rows", "parts")}
    assert counted == {"inserts": 64, "merges": 21, "merged_rows": 192, "parts": 1}
    assert trace.cpu_s.sum() == pytest.approx(0.192)


def test_merges_that_do_not_keep_up_delay_inserts_and_then_refuse_them() -> None:
    """Ten parts a second and 0.8 s a merge of four: with room they pile up, with limits inserts slow down to what merges do."""
    slow = {"flush_s": 0.05, "merges": MERGES | {"demand": {"job_s": 0.8}}}
    free = pipeline(slow)
    trace = play(free)
    assert waits(free, trace).max() < 0.1
    assert tally(free, trace, "store.most_parts") > 30
    limits = {"parts_to_delay": 8, "parts_to_throw": 12, "max_delay_s": 0.4}
    delayed = pipeline(slow | {"merges": slow["merges"] | limits})
    trace = play(delayed)
    assert tally(delayed, trace, "store.delayed_inserts") > 0
    assert tally(delayed, trace, "store.most_parts") <= 12
    assert np.nanmax(waits(delayed, trace)) > 0.3
    stuck = pipeline(slow | {"merges": slow["merges"] | limits | {"demand": {"job_s": 20.0}}})
    trace = play(stuck)
    assert tally(stuck, trace, "store.refused_inserts") > 0
    assert np.isnan(hop_times(stuck, trace, "stored")).any()


def test_more_replicas_of_a_store_share_flushes_and_merges() -> None:
    """One replica drowns in parts; three by a change after 5 s stop the growth."""
    slow = {"flush_s": 0.05, "max_replicas": 3, "merges": MERGES | {"demand": {"job_s": 0.8}}}
    scenario = pipeline(slow)
    alone = tally(scenario, play(scenario, seconds=20.0), "store.parts")
    scaled = play(scenario, seconds=20.0, changes=(Change(5.0, "store-replicas", "store", 3.0),))
    assert tally(scenario, scaled, "store.parts") < 0.6 * alone
    assert tally(scenario, scaled, "store.inserts") == len(scaled.events)


RECOVERY = {"restart_s": 0.5, "redo_event_s": 0.01}


def test_a_killed_store_loses_work_but_no_poll() -> None:
    """Callers bring again what was under way; nobody commits until it has recovered."""
    scenario = pipeline({"delay": {"mean_s": 0.03}, "threads": 4, "recovery": RECOVERY}, workers=4, rate_eps=100.0)
    trace = play(scenario, changes=(Change(2.0, "kill", "store"), Change(2.5, "start", "store")))
    stored = hop_times(scenario, trace, "stored")
    assert np.isfinite(stored).all()
    assert 1 <= tally(scenario, trace, "store.retried") <= 4
    committed = int((stored < 2.0).sum())
    back_s = 2.5 + 0.5 + 0.01 * committed  # and what was in the log but not visible yet
    assert not ((stored >= 2.0) & (stored < back_s)).any()
    assert stored[stored > 2.0].min() == pytest.approx(back_s + 0.05, abs=0.03)


def test_a_recovery_redoes_what_came_since_the_last_checkpoint() -> None:
    """Killed 0.1 s or 0.9 s after a checkpoint: 80 events more to redo at 10 ms each."""
    store = {"recovery": RECOVERY, "checkpoint": {"every_s": 2.0}}
    outages = []
    for after_s in (0.1, 0.9):
        scenario = pipeline(store, rate_eps=100.0)
        killed = 2.0 + after_s
        stored = hop_times(
            scenario,
            play(scenario, seconds=6.0, changes=(Change(killed, "kill", "store"), Change(killed, "start", "store"))),
            "stored",
        )
        outages.append(stored[stored >= killed].min() - killed)
    assert outages[0] == pytest.approx(0.5 + 0.1, abs=0.03)
    assert outages[1] - outages[0] == pytest.approx(0.8, abs=0.03)


def test_a_store_that_stays_down_keeps_what_waits() -> None:
    scenario = pipeline({"recovery": RECOVERY})
    stored = hop_times(scenario, play(scenario, changes=(Change(3.0, "kill", "store"),)), "stored")
    assert np.isfinite(stored).sum() == pytest.approx(30, abs=1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            Change(1.0, "kill", "store"),
            "kill: must be of a broker, a consumer or a station with recovery, got 'store'; valid",
        ),
        (Change(1.0, "store-replicas", "store", 2.0), "from 1 to max_replicas"),
    ],
)
def test_a_change_of_what_a_store_has_not_is_refused(change: Change, words: str) -> None:
    with pytest.raises(InputError, match=words):
        play(pipeline({}), changes=(change,))


@pytest.mark.parametrize(
    ("store", "words"),
    [
        ({"flush_s": 0.1, "connections": 3}, "must leave out flush_s beside connections"),
        ({"merges": {}}, "must set flush_s with merges or replicas"),
        ({"flush_s": 0.1, "merges": {"parts_to_throw": 5}}, "must set parts_to_throw above parts_to_delay"),
    ],
)
def test_a_store_writes_in_one_way(store: dict[str, Any], words: str) -> None:
    with pytest.raises(ScenarioError, match=words):
        pipeline(store)


def test_a_killed_pool_does_its_polls_again() -> None:
    """A worker of 30 ms a poll dies and is back after half a second; the poll in its hands is worked on twice."""
    pool = {"kind": "pool", "host": "box", "demand": {"job_s": 0.03}, "hop": "stored", "recovery": {"restart_s": 0.5}}
    scenario = pipeline({}, **{"stations.store": pool})
    calm = play(scenario)
    trace = play(scenario, changes=(Change(2.01, "kill", "store"), Change(2.02, "start", "store")))
    stored = hop_times(scenario, trace, "stored")
    assert np.isfinite(stored).all()
    assert tally(scenario, trace, "store.retried") == 1
    assert stored[stored > 2.01].min() == pytest.approx(2.02 + 0.5 + 0.03)
    assert trace.cpu_s.sum() == pytest.approx(calm.cpu_s.sum() + 0.03)


def test_a_simulated_run_tells_what_its_stores_counted() -> None:
    scenario = pipeline({"fsync": {"mean_s": 0.001}})
    _, manifest = simulate(scenario, seconds=2.0, warmup_s=1.0, seed=1)
    assert manifest.counters["store.flushes"] == manifest.counters["store.commits"] == 30

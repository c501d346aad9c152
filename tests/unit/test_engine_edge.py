"""What the engines' edge does with subscribers: writes by tenant, slow clients, cut-offs, resuming."""

from typing import Any

import numpy as np
import pytest

from sentra_sim.engine import Change, Trace, prepare, run
from sentra_sim.engine.audience import groups_of
from sentra_sim.engine.tallies import tally_names
from sentra_sim.errors import InputError
from sentra_sim.scenario import Broadcast, Scenario
from tests.pipelines import bare, hop_times


def pipeline(
    subscribers: dict[str, Any] | None, *, rate_eps: float = 100.0, tenants: int = 1, **changes: Any
) -> Scenario:
    """A pipeline that costs nothing but what a test says of its edge."""
    edge: dict[str, Any] = {"kind": "broadcast", "host": "ample", "subscriber_host": "ample"}
    return bare(
        {
            "load.rate_eps": rate_eps,
            "load.tenants": tenants,
            "stations.group.calls": ["store"],
            "stations.store": {"kind": "store", "host": "ample", "hop": "stored", "to": ["edge"]},
            "stations.edge": edge | ({} if subscribers is None else {"subscribers": subscribers}),
        }
        | changes
    )


def play(scenario: Scenario, seconds: float = 10.0, changes: tuple[Change, ...] = ()) -> Trace:
    return run(prepare(scenario, seconds=seconds, seed=1), changes=changes)


def tallies(scenario: Scenario, trace: Trace) -> dict[str, float]:
    names = [name.removeprefix("edge.") for name in tally_names(scenario)]
    return dict(zip(names, trace.tallies.tolist(), strict=True))


def assert_books(found: dict[str, float]) -> None:
    """Every event that was for a slow client has been read, waits, or is known to be gone."""
    booked = found["slow_delivered"] + found["slow_pending"] + found["gap"]
    assert booked == pytest.approx(found["slow_offered"], rel=1e-9)


def test_a_poll_is_one_message_to_each_client_of_its_tenant() -> None:
    """A thousand clients of one tenant get every event, at 20 us each; of ten tenants one in ten, and the rest cost nothing."""
    deliver = {"frame_s": 20e-6}
    waits = {}
    for tenants in (1, 10):
        scenario = pipeline(
            {"count": 1_000, "deliver": deliver}, rate_eps=20.0, tenants=tenants, **{"load.key_skew": 0.0}
        )
        trace = play(scenario)
        found = tallies(scenario, trace)
        assert found["writes"] == pytest.approx(200 * 1_000 / tenants)
        waits[tenants] = np.median(hop_times(scenario, trace, "sent") - hop_times(scenario, trace, "stored"))
        assert trace.cpu_s.sum() == pytest.approx(found["writes"] * 20e-6)
    assert waits[1] == pytest.approx(0.020)
    assert waits[10] == pytest.approx(0.002)


def test_slow_clients_fall_behind_and_are_cut_off_while_the_fast_ones_notice_nothing() -> None:
    """They get 100 events/s and read 60: a buffer of 100 is full after 2.5 s, and again after they are back."""
    slow = {"count": 10, "slow_share": 0.2, "slow_read_eps": 60.0, "buffer_events": 100.0, "reconnect": {"mean_s": 0.5}}
    without, scenario = pipeline({"count": 10}), pipeline(slow)
    fast, trace = play(without), play(scenario)
    np.testing.assert_array_equal(fast.hops_s, trace.hops_s)
    found = tallies(scenario, trace)
    assert found["drops"] >= 2 * 2  # two clients
    assert found["reconnects"] == pytest.approx(found["drops"], abs=2)
    assert found["replayed"] > 2 * 100
    assert found["gap"] == 0.0
    assert found["slow_wait_max_s"] > 100 / 60
    assert_books(found)


def test_a_client_that_keeps_up_is_never_cut_off() -> None:
    scenario = pipeline({"count": 10, "slow_share": 1.0, "slow_read_eps": 101.0, "buffer_events": 5.0})
    found = tallies(scenario, play(scenario))
    assert found["drops"] == 0.0
    assert found["slow_delivered"] == pytest.approx(found["slow_offered"], rel=0.01)
    assert_books(found)


def test_who_is_away_for_longer_than_the_edge_holds_events_misses_some_for_good() -> None:
    slow = {"count": 10, "slow_share": 1.0, "slow_read_eps": 10.0, "buffer_events": 50.0, "reconnect": {"mean_s": 4.0}}
    gaps = []
    for hold_s in (1.0, 100.0):
        scenario = pipeline(slow | {"hold_s": hold_s})
        found = tallies(scenario, play(scenario))
        assert_books(found)
        gaps.append(found["gap"])
    assert gaps[0] > 0.0
    assert gaps[1] == 0.0


def test_letting_clients_in_again_costs_the_edge_and_delays_everybody() -> None:
    """A thousand clients come back at once: a handshake each of 1 ms holds the edge's thread for a second."""
    slow = {
        "count": 1_000,
        "slow_share": 1.0,
        "slow_read_eps": 50.0,
        "buffer_events": 100.0,
        "connect": {"frame_s": 1e-3},
    }
    scenario = pipeline(slow)
    trace = play(scenario)
    late = hop_times(scenario, trace, "sent") - hop_times(scenario, trace, "stored")
    assert late.max() == pytest.approx(1.0, abs=0.02)
    assert np.median(late) < 0.5


def test_clients_in_a_row_of_cut_offs_wait_twice_as_long_each_time() -> None:
    """Full backoff, no jitter: hopeless readers come back after 0.5, 1, 2 and 4 s, so they are cut off less and less often."""
    hopeless = {
        "count": 1,
        "slow_share": 1.0,
        "slow_read_eps": 1e-3,
        "buffer_events": 9.5,
        "reconnect": {"mean_s": 0.5},
    }
    scenario = pipeline(hopeless | {"reconnect_max_s": 4.0})
    found = tallies(scenario, play(scenario, seconds=11.0))  # 5 x 0.1 s to fill the buffer, and the waits between
    assert found["drops"] == 5.0
    steady = pipeline(hopeless | {"reconnect_max_s": 0.5})
    assert tallies(steady, play(steady, seconds=11.0))["drops"] > 15.0


def test_each_group_of_tenants_has_the_events_of_its_own() -> None:
    scenario = pipeline({"groups": 3}, tenants=7)
    edge = scenario.stations["edge"]
    assert isinstance(edge, Broadcast)
    assert edge.subscribers is not None
    groups = groups_of(scenario, edge.subscribers)
    assert sum(group.part for group in groups) == pytest.approx(1.0)
    assert sum(group.part * 7 * group.share for group in groups) == pytest.approx(1.0)
    assert len({group.share for group in groups}) == 3


def test_clients_become_slow_and_fast_again() -> None:
    """A bad network from 2 s to 6 s for a third of them: they fall behind, and have read all that was for them when it is over."""
    scenario = pipeline({"count": 30, "slow_read_eps": 60.0, "buffer_events": 1e6})
    changes = (Change(2.0, "slow-clients", "edge", 1 / 3), Change(6.0, "slow-clients", "edge", 0.0))
    found = tallies(scenario, play(scenario, changes=changes))
    assert found["slow_offered"] == pytest.approx(10 * 400, rel=0.01)
    assert found["slow_wait_max_s"] == pytest.approx(4 * 40 / 60, rel=0.05)
    assert found["slow_pending"] == 0.0
    assert_books(found)


@pytest.mark.parametrize(
    ("subscribers", "value", "words"),
    [
        (None, 0.1, "must be of a broadcast with subscribers, got 'edge'; add subscribers"),
        ({}, 1.1, "from 0 to 1, got 1.1"),
    ],
)
def test_a_change_of_clients_that_are_not_there_is_refused(
    subscribers: dict[str, Any] | None, value: float, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        play(pipeline(subscribers), changes=(Change(1.0, "slow-clients", "edge", value),))


def test_a_killed_edge_lets_its_clients_in_before_it_sends_on() -> None:
    """Down from 2 s to 3 s: all wait for the handshakes of the fast clients, 1 ms each; nothing is lost, the slow resume."""
    subscribers = {"count": 500, "slow_share": 0.1, "connect": {"frame_s": 1e-3}, "deliver": {"frame_s": 1e-6}}
    scenario = pipeline(subscribers, **{"stations.edge.recovery": {"restart_s": 0.5}})
    trace = play(scenario, changes=(Change(2.0, "kill", "edge"), Change(2.5, "start", "edge")))
    sent = hop_times(scenario, trace, "sent")
    found = tallies(scenario, trace)
    assert np.isfinite(sent).all()
    assert not ((sent > 2.0005) & (sent < 3.0 + 0.45)).any()
    assert found["drops"] == found["reconnects"] == pytest.approx(50)
    assert found["recoveries"] == 1
    assert_books(found)

"""What differs between an edge's transports: server-sent events cost more and come back together, WebSocket clients spread."""

from typing import Any, Literal

import pytest

from sentra_sim.engine import Change, Trace, prepare, run
from sentra_sim.errors import ScenarioError
from sentra_sim.scenario import Scenario
from tests.pipelines import hop_times
from tests.unit.test_engine_edge import assert_books, pipeline, tallies

KILLED = (Change(2.0, "kill", "edge"), Change(2.5, "start", "edge"))  # up again at 3.0
RECOVERY = {"stations.edge.recovery": {"restart_s": 0.5}}
ENGINES: tuple[Literal["compiled", "reference"], ...] = ("compiled", "reference")


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Any:
    return request.param


def play(scenario: Scenario, engine: Any, seconds: float = 10.0, changes: tuple[Change, ...] = ()) -> Trace:
    return run(prepare(scenario, seconds=seconds, seed=1), engine=engine, changes=changes)


def test_encoding_costs_the_edge_by_the_share_of_its_clients_that_read_text(engine: Any) -> None:
    """A hundred clients get 1,000 single events, 10 us a message; over server-sent events 30 us, and 2 us an event."""
    for share in (0.0, 0.25, 1.0):
        sse = {"share": share, "deliver": {"frame_s": 30e-6, "event_s": 2e-6}}
        scenario = pipeline({"count": 100, "deliver": {"frame_s": 10e-6}, "sse": sse})
        trace = play(scenario, engine)
        found = tallies(scenario, trace)
        assert found["writes"] == pytest.approx(100_000)
        assert found["sse_writes"] == pytest.approx(share * 100_000)
        assert trace.cpu_s.sum() == pytest.approx((1.0 - share) * 1.0 + share * 3.2)


def test_server_sent_events_cost_as_websocket_where_nothing_else_is_said(engine: Any) -> None:
    costs = {"count": 100, "deliver": {"frame_s": 10e-6}}
    for share in (0.0, 0.5, 1.0):
        trace = play(pipeline(costs | {"sse": {"share": share}}), engine)
        assert trace.cpu_s.sum() == pytest.approx(1.0)


def test_after_a_restart_event_sources_come_back_as_one_herd_and_websockets_spread(engine: Any) -> None:
    """A thousand handshakes of 1 ms each: all in one go the edge sends nothing for a second; spread over 3 s it hardly waits."""
    clients = {"count": 1_000, "groups": 40, "connect": {"frame_s": 1e-3}, "reconnect_max_s": 4.0}
    waits = {}
    for share in (0.0, 1.0):
        scenario = pipeline(clients | {"sse": {"share": share}}, tenants=40, **{"load.key_skew": 0.0} | RECOVERY)
        trace = play(scenario, engine, changes=KILLED)
        found = tallies(scenario, trace)
        assert found["drops"] == found["reconnects"] == pytest.approx(1_000)
        assert found["sse_reconnects"] == pytest.approx(share * 1_000)
        assert found["gap"] == 0.0
        assert_books(found)
        late_s = hop_times(scenario, trace, "sent") - hop_times(scenario, trace, "stored")
        after = hop_times(scenario, trace, "stored") > 3.5  # what waited for the edge to be up is sent by then
        waits[share] = float(late_s[after].max())
    assert waits[1.0] == pytest.approx(1.0, abs=0.03)
    assert waits[0.0] < 0.5 * waits[1.0]


def test_a_browser_waits_for_its_retry_time_and_asks_again_while_the_edge_is_down(engine: Any) -> None:
    """Down for 1 s from 2 s on, 100 events/s: with a retry time of 0.4 s they are back at 3.2 s, with 3 s at 5 s, and miss that much."""
    for retry_s, away_s in ((0.4, 1.2), (3.0, 3.0)):
        scenario = pipeline({"count": 10, "sse": {"share": 1.0, "retry_s": retry_s}}, **RECOVERY)
        found = tallies(scenario, play(scenario, engine, changes=KILLED))
        assert found["replayed"] == pytest.approx(10 * 100 * away_s, abs=15)
        assert found["sse_reconnects"] == pytest.approx(10)
        assert_books(found)


def test_both_resume_without_loss_within_what_the_edge_holds_and_lose_what_is_older(engine: Any) -> None:
    for share in (0.0, 1.0):
        gaps = []
        for hold_s in (15.0, 0.5):
            clients = {"count": 10, "hold_s": hold_s, "reconnect": {"mean_s": 1.5}, "sse": {"share": share}}
            scenario = pipeline(clients, **RECOVERY)
            found = tallies(scenario, play(scenario, engine, changes=KILLED))
            assert_books(found)
            gaps.append(found["gap"])
        assert gaps[0] == 0.0
        assert gaps[1] > 0.0


def test_slow_readers_of_either_transport_are_cut_off_and_come_back_in_their_way(engine: Any) -> None:
    """Hopeless readers: over WebSocket they back off ever longer, an event source comes back every second."""
    hopeless = {
        "count": 20,
        "slow_share": 1.0,
        "slow_read_eps": 1e-3,
        "buffer_events": 9.5,
        "reconnect": {"mean_s": 1.0},
    }
    scenario = pipeline(hopeless | {"sse": {"share": 0.5, "retry_s": 1.0}})
    found = tallies(scenario, play(scenario, engine, seconds=20.0))
    web_socket_drops = found["drops"] - found["sse_drops"]
    assert found["sse_drops"] == pytest.approx(10 * 18, abs=10)  # one in 1.1 s
    assert web_socket_drops == 10 * 5  # after 1, 2, 4 and 8 s
    assert_books(found)


def test_more_slow_ones_are_of_both_transports(engine: Any) -> None:
    scenario = pipeline({"count": 40, "slow_read_eps": 60.0, "buffer_events": 1e6, "sse": {"share": 0.25}})
    changes = (Change(2.0, "slow-clients", "edge", 0.5), Change(6.0, "slow-clients", "edge", 0.0))
    found = tallies(scenario, play(scenario, engine, changes=changes))
    assert found["slow_offered"] == pytest.approx(20 * 400, rel=0.01)
    assert found["slow_pending"] == 0.0
    assert_books(found)


@pytest.mark.parametrize(
    ("sse", "words"),
    [
        ({"share": 1.1}, r"sse\.share: must be less than or equal to 1, got 1\.1"),
        ({"share": -0.1}, r"sse\.share: must be greater than or equal to 0, got -0\.1"),
        ({"retry_s": 0.0}, r"sse\.retry_s: must be greater than 0, got 0\.0"),
    ],
)
def test_bad_values_are_refused(sse: dict[str, Any], words: str) -> None:
    with pytest.raises(ScenarioError, match=words):
        pipeline({"sse": sse})


def test_clients_that_would_ask_an_edge_that_is_down_for_ever_at_one_moment_are_refused() -> None:
    with pytest.raises(ScenarioError, match=r"must set reconnect\.mean_s above 0 with sse"):
        pipeline({"sse": {"share": 0.5}, "reconnect": {"mean_s": 0.0}})

"""The network between two hosts: slow, and lossy as TCP is."""

from typing import Any

import numpy as np
import pytest

from sentra_sim.engine import Change, Trace, prepare, run
from sentra_sim.engine.network import ways
from sentra_sim.errors import InputError
from sentra_sim.scenario import Scenario
from tests.pipelines import bare, hop_times

AWAY = {"load.rate_eps": 100.0, "stations.group.host": "box"}  # the consumers fetch from another host


@pytest.fixture(params=["compiled", "reference"])
def engine(request: pytest.FixtureRequest) -> Any:
    return request.param


def play(scenario: Scenario, engine: Any, *changes: Change, seconds: float = 0.1) -> Trace:
    return run(prepare(scenario, seconds=seconds, seed=1), engine=engine, changes=changes)


def fetch_s(scenario: Scenario, trace: Trace) -> np.ndarray:
    return hop_times(scenario, trace, "started") - hop_times(scenario, trace, "acked")


def test_what_goes_from_host_to_host_takes_both_links_times(engine: Any) -> None:
    scenario = bare(AWAY | {"hosts.box.network_s": 0.003, "hosts.ample.network_s": 0.001})
    assert fetch_s(scenario, play(scenario, engine)) == pytest.approx(0.004, abs=1e-9)


def test_what_stays_on_its_host_does_not_see_the_network(engine: Any) -> None:
    scenario = bare({"hosts.ample.network_s": 1.0, "hosts.ample.loss": 0.5})
    assert not ways(scenario)
    np.testing.assert_array_equal(play(scenario, engine).hops_s, play(bare(), engine).hops_s)


def test_a_link_that_becomes_slow_delays_what_leaves_from_then_on(engine: Any) -> None:
    scenario = bare(AWAY)
    trace = play(scenario, engine, Change(0.045, "slow", "box", 0.02), Change(0.075, "slow", "box", 0.0))
    assert fetch_s(scenario, trace) == pytest.approx([0.0] * 5 + [0.02] * 3 + [0.0] * 2, abs=1e-9)


def test_a_lost_segment_is_sent_again_after_200_ms_and_then_twice_as_long(engine: Any) -> None:
    """A tenth lost: nine of ten come at once, nine of a hundred 0.2 s later, of the rest nearly all after 0.6 s."""
    scenario = bare(AWAY | {"hosts.box.loss": 0.1})
    trace = play(scenario, engine, seconds=40.0)
    late_s = np.round(fetch_s(scenario, trace), 6)
    assert set(late_s) <= {0.0, 0.2, 0.6, 1.4, 3.0, 6.2}
    assert (late_s == 0.0).mean() == pytest.approx(0.9, abs=0.02)
    assert (late_s == 0.2).mean() == pytest.approx(0.09, abs=0.02)
    assert (late_s == 0.6).mean() == pytest.approx(0.009, abs=0.005)


def test_a_link_is_lossy_for_as_long_as_it_is_said_to_be(engine: Any) -> None:
    scenario = bare(AWAY)
    trace = play(scenario, engine, Change(0.505, "lossy", "box", 0.5), Change(1.005, "lossy", "box", 0.0), seconds=2.0)
    late, acked = fetch_s(scenario, trace) > 0.1, hop_times(scenario, trace, "acked")
    during = (acked > 0.505) & (acked < 1.005)
    assert not late[~during].any()
    assert 10 < late[during].sum() < 40


def test_a_link_that_loses_everything_is_refused() -> None:
    with pytest.raises(InputError, match="lossy: box: must be a probability >= 0 and < 1, got 1"):
        play(bare(AWAY), "reference", Change(0.0, "lossy", "box", 1.0))

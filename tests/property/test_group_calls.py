"""What a consumer does when a call fails, when it is behind, and when an event is too old; both engines alike."""

from typing import Any

import numpy as np
import pytest

from sentra_sim.engine import Change, Trace
from sentra_sim.engine.trace import DLQ, OK, SHED
from sentra_sim.errors import InputError, ScenarioError
from sentra_sim.scenario import Scenario
from tests.pipelines import bare, hop_times
from tests.property.test_engines_equal import play_both

WORK_S = 0.001


def calling(failure: float, *, rate_eps: float = 200.0, **keys: Any) -> Scenario:
    """One consumer that calls a store of 1 ms, which fails a share of the calls; a frame a poll."""
    return bare(
        {
            "load.rate_eps": rate_eps,
            "stations.group": {"kind": "consumer_group", "host": "ample", "calls": ["store"], "max_poll_events": 1}
            | keys,
            "stations.store": {
                "kind": "store",
                "host": "ample",
                "hop": "stored",
                "demand": {"job_s": WORK_S},
                "failure": failure,
            },
        }
    )


def play(scenario: Scenario, *changes: Change, seconds: float = 2.0) -> Trace:
    return play_both(scenario, seconds=seconds, seed=6, changes=changes)


def calls(trace: Trace) -> int:
    """Returns how many calls the store has worked on."""
    return round(trace.cpu_s.sum() / WORK_S)


def test_a_call_that_fails_is_made_again_until_it_does_not() -> None:
    scenario = calling(0.3, retry={"attempts": 50, "base_s": 0.001, "cap_s": 0.002})
    trace = play(scenario)
    assert (trace.outcome == OK).all()
    assert trace.attempts.mean() == pytest.approx(1 / 0.7, rel=0.15)
    assert calls(trace) == trace.attempts.sum()


def test_pauses_between_attempts_are_drawn_from_zero_to_a_ceiling_that_doubles() -> None:
    """Every call fails: three pauses of at most 10, 20 and 30 ms, half of that on average."""
    scenario = calling(1.0, rate_eps=5.0, retry={"attempts": 4, "base_s": 0.01, "cap_s": 0.03})
    trace = play(scenario, Change(1.9, "failure", "store", 0.0), seconds=2.0)
    assert (trace.outcome[:9] == DLQ).all()
    assert (trace.attempts[:9] == 4).all()
    backlog = calling(1.0, rate_eps=100.0, retry={"attempts": 4, "base_s": 0.01, "cap_s": 0.03})
    gaps = np.diff(np.sort(hop_times(backlog, play(backlog), "started")))[1:] - 4 * WORK_S
    assert gaps.max() < 0.06
    assert gaps.mean() == pytest.approx(0.03, rel=0.1)


def test_what_is_given_up_goes_to_the_dead_letter_queue_and_the_next_poll_on() -> None:
    trace = play(calling(0.5, retry={"attempts": 2, "base_s": 0.0}))
    dead = trace.outcome == DLQ
    assert dead.mean() == pytest.approx(0.25, abs=0.08)
    assert np.isnan(trace.hops_s[dead, -1]).all()
    assert np.isfinite(trace.hops_s[~dead, -1]).all()


def test_an_open_breaker_spares_a_station_that_is_down_and_a_probe_closes_it() -> None:
    """Down for a second: without a breaker hundreds of calls, with one three, then a probe every 200 ms."""
    down = (Change(0.5, "failure", "store", 1.0), Change(1.5, "failure", "store", 0.0))
    retry = {"attempts": 10_000, "base_s": 0.001, "cap_s": 0.001}
    plain = calling(0.0, retry=retry)
    guarded = calling(0.0, retry=retry, breaker={"failures": 3, "open_s": 0.2})
    one, other = play(plain, *down), play(guarded, *down)
    assert calls(one) - len(one.events) > 300
    assert 5 <= calls(other) - len(other.events) <= 8
    assert (other.outcome == OK).all()
    back_s = hop_times(guarded, other, "stored")
    assert back_s[back_s > 0.55].min() < 1.5 + 0.2 + 0.01


def test_several_probes_must_pass_before_a_breaker_closes() -> None:
    """A store that fails half of the calls: with more probes a breaker opens more often, so that more time passes."""
    retry = {"attempts": 10_000, "base_s": 0.0}
    last = []
    for probes in (1, 4):
        scenario = calling(0.5, rate_eps=20.0, retry=retry, breaker={"failures": 2, "open_s": 0.01, "probes": probes})
        last.append(hop_times(scenario, play(scenario), "stored").sum())
    assert last[0] < last[1]


def test_a_consumer_that_is_behind_sheds_what_is_too_old() -> None:
    slow = {"process": {"job_s": 0.01}, "max_age_s": 0.1}  # 90 events/s of 200
    trace = play(calling(0.0, **slow))
    shed = trace.outcome == SHED
    assert 0.4 < shed.mean() < 0.7
    assert (trace.outcome[~shed] == OK).all()
    assert (trace.poll[shed] == -1).all()
    waited = (trace.hops_s[:, 3] - trace.hops_s[:, 0])[~shed]
    assert waited.max() <= 0.1


def test_a_consumer_that_is_behind_does_not_wait_for_company() -> None:
    """A burst, then a load that leaves time: adaptive gathering is gone while there is a backlog, and grows back."""
    steps = [{"rate_eps": 2000.0, "seconds": 0.5}, {"rate_eps": 50.0, "seconds": 1.5}]
    waits = {}
    for adaptive in (False, True):
        keys = {"gather_s": 0.008, "adaptive_gather": adaptive, "max_poll_events": 20, "process": {"event_s": 0.0006}}
        scenario = calling(0.0, **keys)
        data = scenario.model_copy(update={"load": bare({"load": {"steps": steps, "tick_s": 0.0}}).load})
        trace = play(data)
        waits[adaptive] = hop_times(data, trace, "started") - hop_times(data, trace, "acked")
    assert waits[False][-60:] == pytest.approx(0.008, abs=1e-9)
    growing = waits[True][1000:][waits[True][1000:] < 0.0081][:9]
    assert growing[1] == pytest.approx(0.002)
    assert (np.diff(growing[1:]) > -1e-9).all()
    assert waits[True][-20:] == pytest.approx(0.008, abs=1e-9)


def test_only_a_station_that_is_called_can_fail_a_call() -> None:
    with pytest.raises(ScenarioError, match="must be of a station that the consumer group calls"):
        bare(
            {
                "stations.group.calls": ["store"],
                "stations.store": {"kind": "store", "host": "ample", "hop": "stored", "to": ["behind"]},
                "stations.behind": {"kind": "pool", "host": "ample", "hop": "behind", "failure": 0.1},
            }
        )
    with pytest.raises(InputError, match="must be of a station that sets failure, got 'group'; write failure: 0"):
        play(calling(0.0), Change(0.1, "failure", "group", 0.1))
    with pytest.raises(InputError, match="must be from 0 to 1, got 2"):
        play(calling(0.0), Change(0.1, "failure", "store", 2.0))

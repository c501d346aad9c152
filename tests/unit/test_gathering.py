"""Adaptive batching: a consumer that keeps up waits for company, one that is behind does not."""

import pytest

from live_adapters.pipeline.consumer.gathering import GROWING_POLLS, GatherTime


def test_at_a_normal_load_the_scenario_decides() -> None:
    gather = GatherTime(0.003, 20_000)
    for lag_events in (0, 500, 10_000):
        gather.see(lag_events)
        assert gather.now_s == 0.003
    assert gather.shrunk == 0


def test_behind_there_is_no_wait_and_it_grows_back_step_by_step() -> None:
    gather = GatherTime(0.008, 20_000)
    for _ in range(3):
        gather.see(10_001)
        assert gather.now_s == 0.0
    assert gather.shrunk == 1
    grown = []
    for _ in range(GROWING_POLLS + 2):
        gather.see(100)
        grown.append(gather.now_s)
    assert grown == pytest.approx([0.001 * min(step, 8) for step in range(1, GROWING_POLLS + 3)])


def test_a_scenario_that_does_not_gather_never_does() -> None:
    gather = GatherTime(0.0, 1000)
    for lag_events in (10_000, 0, 0):
        gather.see(lag_events)
        assert gather.now_s == 0.0
    assert gather.shrunk == 0

"""The HorizontalPodAutoscaler's rule against what Kubernetes' controller does."""

import pytest

from sentra_sim.control.hpa import Behavior, Hpa, ScalingPolicy, ScalingRules, Usage, propose


def lag(value: float) -> list[Usage | None]:
    return [Usage(value, 100.0)]


def test_a_metric_within_a_tenth_of_its_target_changes_nothing() -> None:
    assert propose(3, Usage(329.0, 100.0), Behavior()) == 3
    assert propose(3, Usage(331.0, 100.0), Behavior()) == 4
    assert propose(3, Usage(269.0, 100.0), Behavior()) == 3
    assert propose(4, Usage(355.0, 100.0), Behavior()) == 4  # 3.55 replicas' worth
    assert propose(2, Usage(60.0, 20.0, average=False), Behavior()) == 6  # thrice the target: thrice the replicas


def test_scaling_up_is_at_once_but_no_faster_than_doubling_or_four_a_period() -> None:
    hpa = Hpa(1, 50)
    counts = [1]
    for step in range(5):
        counts.append(hpa.sync(15.0 * step, counts[-1], lag(10_000.0)))
    assert counts == [1, 5, 10, 20, 40, 50]


def test_scaling_down_waits_until_five_minutes_hold_no_higher_recommendation() -> None:
    hpa = Hpa(1, 10)
    assert hpa.sync(0.0, 6, lag(600.0)) == 6
    current = 6
    for step in range(1, 20):
        current = hpa.sync(15.0 * step, current, lag(100.0))
        assert current == 6
    assert hpa.sync(300.0, current, lag(100.0)) == 1


def test_policies_bound_a_change_within_their_period() -> None:
    rules = ScalingRules(stabilizationWindowSeconds=0, policies=(ScalingPolicy(type="Pods", value=2, period_s=60),))
    hpa = Hpa(1, 20, Behavior(scaleUp=rules, scaleDown=rules))
    assert [hpa.sync(0.0, 4, lag(2000.0)), hpa.sync(30.0, 6, lag(2000.0)), hpa.sync(60.0, 6, lag(2000.0))] == [6, 6, 8]
    assert hpa.sync(200.0, 8, lag(100.0)) == 6


def test_the_strictest_policy_holds_with_min_and_none_with_disabled() -> None:
    policies = (ScalingPolicy(type="Pods", value=1, period_s=15), ScalingPolicy(type="Percent", value=50, period_s=15))
    up = {"Max": 6, "Min": 5, "Disabled": 4}
    down = {"Max": 2, "Min": 3, "Disabled": 4}
    for select in ("Max", "Min", "Disabled"):
        rules = ScalingRules(stabilizationWindowSeconds=0, selectPolicy=select, policies=policies)
        behavior = Behavior(scaleUp=rules, scaleDown=rules)
        assert Hpa(1, 20, behavior).sync(0.0, 4, lag(2000.0)) == up[select]
        assert Hpa(1, 20, behavior).sync(0.0, 4, lag(0.0)) == down[select]


def test_the_metric_that_asks_for_most_decides_and_one_that_is_missing_holds_back_scaling_down() -> None:
    assert Hpa(1, 9).sync(0.0, 2, [Usage(300.0, 100.0), Usage(500.0, 100.0)]) == 5
    soon = Behavior(scaleDown=ScalingRules(stabilizationWindowSeconds=0))
    assert Hpa(1, 9, soon).sync(0.0, 4, [Usage(100.0, 100.0), None]) == 4
    assert Hpa(1, 9, soon).sync(0.0, 4, [Usage(900.0, 100.0), None]) == 8
    assert Hpa(1, 9).sync(0.0, 4, [None]) == 4


@pytest.mark.parametrize(("current", "wanted"), [(0, 0), (1, 2), (12, 8)])
def test_none_stay_none_and_what_is_out_of_bounds_comes_back(current: int, wanted: int) -> None:
    assert Hpa(2, 8).sync(0.0, current, lag(300.0)) == wanted

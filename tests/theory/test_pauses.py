"""The engines' pauses against the queue whose server breaks down."""

from typing import Any

import pytest

from tests.theory.queues import RATE_EPS, append_queue, assert_holds, mean_sojourn, receive_queue

EXPONENTIAL = {"dist": "exponential"}
UP_S, DOWN_S = 0.010, 0.002  # mean times between pauses, and of one
PAUSES = [{"gap": {"mean_s": UP_S, "noise": EXPONENTIAL}, "length": {"mean_s": DOWN_S, "noise": EXPONENTIAL}}]


def broken_sojourn_s(utilisation: float) -> float:
    """Returns the mean sojourn time at M/M/1 with a server that fails whether busy or not and then goes on with its job.

    White and Christie (1958): with rates of arrival a, service m, failure f and repair r the mean number present is
    a ((f + r)^2 + m f) / ((f + r) (r m - a (f + r))); without failures that is M/M/1's.
    """
    served, failing, repaired = RATE_EPS / utilisation, 1 / UP_S, 1 / DOWN_S
    both = failing + repaired
    return (both**2 + served * failing) / (both * (repaired * served - RATE_EPS * both))


@pytest.mark.parametrize("utilisation", [0.3, 0.6])
def test_a_stalling_host_is_a_server_that_breaks_down(utilisation: float) -> None:
    scenario = receive_queue(utilisation, EXPONENTIAL, pauses=PAUSES)
    assert_holds(mean_sojourn(scenario, "received"), broken_sojourn_s(utilisation))


def test_sharing_does_not_change_the_mean_under_stalls() -> None:
    """With exponential demands the number of jobs present does not depend on who is served."""
    sharing: dict[str, Any] = {"discipline": "ps", "pauses": PAUSES}
    scenario = append_queue(0.6, EXPONENTIAL, threads=400, cores=1, **sharing)
    assert_holds(mean_sojourn(scenario, "acked"), broken_sojourn_s(0.6))


def test_a_process_that_stops_for_its_collector_is_one_too() -> None:
    scenario = receive_queue(0.6, EXPONENTIAL)
    station = scenario.stations["batcher"].model_copy(update={"pauses": scenario_pauses()})
    paused = scenario.model_copy(update={"stations": scenario.stations | {"batcher": station}})
    assert_holds(mean_sojourn(paused, "received"), broken_sojourn_s(0.6))


def scenario_pauses() -> Any:
    """Returns the pauses as a scenario holds them."""
    return receive_queue(0.6, EXPONENTIAL, pauses=PAUSES).hosts["box"].pauses

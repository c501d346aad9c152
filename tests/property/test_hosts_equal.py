"""Both engines under random changes of processes and hosts."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.pipelines import bare
from tests.property.test_engines_equal import _check_conservation, _check_order, play_both, scenarios
from tests.property.vary_hosts import host_changes


@settings(max_examples=60, deadline=None)
@given(data=st.data(), scenario=scenarios(), seed=st.integers(0, 2**32 - 1))
def test_whatever_happens_to_processes_and_hosts_is_the_same_in_both_engines(
    data: Any, scenario: Any, seed: int
) -> None:
    trace = play_both(scenario, seconds=0.3, seed=seed, changes=data.draw(host_changes(scenario)))
    _check_conservation(trace)
    _check_order(scenario, trace)
    assert (trace.cpu_s >= 0.0).all()


def test_threads_of_one_process_that_a_stall_finds_on_cores_are_charged_in_one_order() -> None:
    """Sums of three times differ in their last bit with the order in which they are added."""
    scenario = bare(
        {
            "load.rate_eps": 1000.0,
            "load.arrivals": "poisson",
            "hosts.box": {"cores": 3, "pauses": [{"gap": {"mean_s": 0.01}, "length": {"mean_s": 0.001}}]},
            "stations.log.host": "box",
            "stations.log.threads": 3,
            "stations.log.append": {"job_s": 0.0025, "noise": {"dist": "exponential"}},
        }
    )
    play_both(scenario, seconds=2.0, seed=1)

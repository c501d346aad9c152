"""Both engines under random changes of processes and hosts."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

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

"""Brokers that fail, in the compiled engine against the reference engine, with the books kept."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sentra_sim.engine.trace import DLQ, DUPLICATE, LOST, OK, OPEN, SHED
from sentra_sim.scenario import ConsumerGroup, Log, hop_edges, only
from tests.property.test_engines_equal import play_both, scenarios
from tests.property.vary_log import broker_changes


@settings(max_examples=60, deadline=None)
@given(data=st.data(), scenario=scenarios(), seed=st.integers(0, 2**32 - 1))
def test_failing_brokers_are_the_same_in_both_engines_and_keep_the_books(data, scenario, seed) -> None:
    trace = play_both(scenario, seconds=0.3, seed=seed, changes=data.draw(broker_changes(scenario)))
    log = only(scenario, Log)[1]
    hops = [edge.hop for edge in hop_edges(scenario)]
    acked, started = (np.isfinite(trace.hops_s[:, hops.index(hop)]) for hop in (log.hop, hops[3]))
    group = only(scenario, ConsumerGroup)[1]
    again = group.max_poll_interval_s > 0.0  # then a poll that takes too long is taken again
    assert set(np.unique(trace.outcome)) <= {OPEN, OK, DLQ, SHED, LOST} | ({DUPLICATE} if again else set())
    drops = bool(group.poison_share) and not group.dlq  # then consumers lose what they cannot process
    # Nobody has what is shed or lost.
    assert again or not started[trace.outcome == SHED].any()
    assert again or drops or not started[trace.outcome == LOST].any()
    assert acked[(trace.outcome == LOST) | started].all()
    by_age = group.max_age_s > 0.0  # consumers shed too then, what was acknowledged
    assert by_age or not acked[trace.outcome == SHED].any()
    if log.acks == "all" and not log.unclean_election and not log.retains and not drops:
        assert not (trace.outcome == LOST).any()
    if log.unclean_election is False and log.acks == "all" and not by_age:
        assert (trace.outcome[acked] != SHED).all()

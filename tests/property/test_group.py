"""The consumer group: its lag, who owns which partition, and what happens to a poll that fails; both engines alike."""

import pytest

from sentra_sim.engine import prepare, run
from sentra_sim.engine.run import start
from tests.pipelines import bare, hop_times


@pytest.mark.parametrize("engine", ["compiled", "reference"])
def test_the_lag_is_what_the_log_has_and_no_poll_has_taken(engine) -> None:
    """Worker calls that take twice the time that the load leaves them: the lag grows, as the hops say, and is worked off."""
    scenario = bare({"load.rate_eps": 100.0, "stations.group.max_poll_events": 1, "stations.group.process.job_s": 0.02})
    plan = prepare(scenario, seconds=2.0, seed=1)
    trace = run(plan)
    acked, started = hop_times(scenario, trace, "acked"), hop_times(scenario, trace, "started")
    simulation = start(plan, engine=engine)
    seen = []
    for at_s in (0.503, 1.003, 1.503, 10.0):
        simulation.advance(at_s)
        seen.append(simulation.lag_events)
        assert seen[-1] == int((acked < at_s).sum() - (started < at_s).sum())
    assert seen[0] < seen[1] < seen[2]
    assert seen[3] == 0

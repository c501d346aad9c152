"""Real faults under load: the pipeline recovers by itself, and what was acknowledged is in effect once."""

import pytest

from live_adapters import stack as local_stack
from live_adapters.chaos import Bounds, find_fault, run_faults
from live_adapters.chaos.faults import POISON_RECORDS
from sentra_sim.scenario import Scenario, load_scenario
from tests.live.back_half import SCENARIO

pytestmark = pytest.mark.live

# A load that a busy machine carries too: few frames, and patience.
BOUNDS = Bounds(500.0, window_s=3.0, ack_age_s=4.0, lag_s=5.0)


def calm_scenario() -> Scenario:
    scenario = load_scenario(SCENARIO)
    gateway = scenario.stations["gateway"].model_copy(update={"linger_s": 0.5})
    load = scenario.load.model_copy(update={"tick_s": 0.1})
    return scenario.model_copy(update={"load": load, "stations": {**scenario.stations, "gateway": gateway}})


def test_a_worker_a_gateway_and_a_leader_killed_under_load_cost_time_but_no_event(stack: local_stack.Endpoints) -> None:
    names = ("kill-worker", "kill-gateway", "kill-leader", "duplicate-ingest", "poison")
    faults = [find_fault(name) for name in names]
    (played,) = run_faults(calm_scenario(), faults, bounds=BOUNDS, seed=3, tell=print)
    account = played.account
    assert account.breaches == ()
    assert (account.lost, account.duplicates, account.unknown_events) == (0, 0, 0)
    assert account.acked_events == account.sent_events > 0
    assert account.refused_duplicates > 0
    assert account.dead == POISON_RECORDS
    assert [outcome.fault for outcome in played.outcomes] == list(names)
    assert all(outcome.recovery_s is not None for outcome in played.outcomes)
    killed = played.outcomes[2]
    assert killed.process.startswith("kafka-")
    assert all(component.alive for component in local_stack.status())

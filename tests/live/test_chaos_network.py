"""A broker cut off from its clients, then one from its peers, under load: it costs time, and no event."""

from pathlib import Path

import pytest

from live_adapters import stack as local_stack
from live_adapters.chaos import find_fault, run_faults
from live_adapters.chaos.lookout import Bounds
from sentra_sim.scenario import Scenario
from tests.live.test_chaos import calm_scenario
from tests.live.test_stack import own_home

pytestmark = pytest.mark.live

BOUNDS = Bounds(1_000.0, window_s=3.0, ack_age_s=2.0, lag_s=3.0)


def steady_scenario() -> Scenario:
    """Acknowledgements come in lumps of the linger, which must be small beside the window of the rates."""
    scenario = calm_scenario()
    gateway = scenario.stations["gateway"].model_copy(update={"linger_s": 0.2})
    return scenario.model_copy(update={"stations": {**scenario.stations, "gateway": gateway}})


def test_brokers_cut_off_from_clients_and_from_peers_under_load_cost_time_but_no_event(tmp_path: Path) -> None:
    with own_home(tmp_path) as home:
        running = local_stack.up(print, proxied=True)
        assert running.proxy
        network = local_stack.Network(running.proxy.port)
        faults = [find_fault(name) for name in ("partition-clients", "partition-peers")]
        (played,) = run_faults(steady_scenario(), faults, bounds=BOUNDS, seed=3, tell=print)
        account = played.account
        assert account.breaches == ()
        assert (account.lost, account.duplicates, account.unknown_events) == (0, 0, 0)
        assert account.acked_events == account.sent_events > 0
        assert [outcome.recovery_s is not None for outcome in played.outcomes] == [True, True]
        assert "acks" in played.outcomes[0].felt
        follower = played.outcomes[1].process
        assert "Shrinking ISR" in "".join(file.read_text() for file in (home / "logs").glob("kafka-?.log")), follower
        assert network.harmed() == {}
        assert local_stack.up(proxied=True) == running

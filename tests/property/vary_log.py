"""Brokers that differ and fail: keys of a log and changes to its brokers, drawn at random."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from sentra_sim.engine import Change
from sentra_sim.scenario import Log, Scenario, only

short_s = st.sampled_from([0.01, 0.03, 0.1])


def vary_log(draw: st.DrawFn, log: dict[str, Any]) -> None:
    """Draws the keys that only matter when brokers fail or lag, short enough to matter in a short run."""
    log["acks"] = draw(st.sampled_from(["all", "leader", "none"]))
    log["high_watermark"] = draw(st.booleans())
    log["unclean_election"] = draw(st.booleans())
    log["session_timeout_s"] = draw(short_s)
    log["retry_backoff_s"] = draw(st.sampled_from([0.005, 0.02]))
    log["retry_backoff_max_s"] = draw(st.sampled_from([0.02, 0.1]))
    log["delivery_timeout_s"] = draw(st.sampled_from([0.05, 10.0]))
    log["restart_s"] = draw(st.sampled_from([0.0, 0.02]))
    log["preferred_election_s"] = draw(st.sampled_from([0.02, 300.0]))
    log["replica_lag_s"] = draw(st.sampled_from([0.0, 0.005, 0.05]))
    log["disk_bytes_per_s"] = draw(st.sampled_from([0.0, 20_000.0, 1e6]))
    log["controller"] = draw(st.integers(0, log["brokers"]))
    log["controller_election_s"] = draw(st.sampled_from([0.0, 0.02]))


@st.composite
def broker_changes(draw: st.DrawFn, scenario: Scenario) -> list[Change]:
    """Draws what happens to brokers in the first half second."""
    name, log = only(scenario, Log)
    operations = st.sampled_from(["kill", "start", "pause", "resume", "partition", "heal", "slow"])
    times_s = st.one_of(st.floats(0.0, 0.5), st.sampled_from([0.0, 0.1, 0.2]))
    brokers = st.integers(1, log.brokers).map(lambda number: f"{name}-{number}")
    change = st.builds(Change, times_s, operations, brokers, st.sampled_from([0.0, 0.004, 0.05]))
    return draw(st.lists(change, max_size=8))

"""Draws a gateway that may end, consumers that may poll too late, and what happens to the one and to pools and stores."""

from typing import Any

from hypothesis import strategies as st

from sentra_sim.engine import Change
from sentra_sim.engine.actors import drains
from sentra_sim.scenario import Scenario


def vary_lifecycle(draw: st.DrawFn, stations: dict[str, Any]) -> None:
    """Adds keys of the batcher and the group, each half of the time."""
    if draw(st.booleans()):
        stations["batcher"]["recovery"] = {"restart_s": draw(st.sampled_from([0.0, 0.01, 0.05]))}
    if draw(st.booleans()):
        stations["group"]["max_poll_interval_s"] = draw(st.sampled_from([0.001, 0.005, 0.02]))


def life_changes(scenario: Scenario) -> st.SearchStrategy[list[Change]]:
    """Draws stops, kills and starts of whatever can be stopped in order."""
    subjects = drains(scenario)
    if not subjects:
        return st.just([])
    times_s = st.sampled_from([0.0, 0.05, 0.1, 0.1003, 0.15, 0.2])
    operations = st.sampled_from(["stop", "kill", "start", "start"])
    return st.lists(st.builds(Change, times_s, operations, st.sampled_from(subjects)), max_size=5)

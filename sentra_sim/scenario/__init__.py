"""What to run: a pipeline as data."""

from sentra_sim.scenario.load import load_scenario, parse_scenario, scenario_data, scenario_hash, with_load, with_room
from sentra_sim.scenario.schema import (
    Batcher,
    Broadcast,
    ConsumerGroup,
    Log,
    Pool,
    Scenario,
    Source,
    Store,
)
from sentra_sim.scenario.topology import INTENDED, HopEdge, hop_edges, kpi_names, only, processes, successors

__all__ = [
    "INTENDED",
    "Batcher",
    "Broadcast",
    "ConsumerGroup",
    "HopEdge",
    "Log",
    "Pool",
    "Scenario",
    "Source",
    "Store",
    "hop_edges",
    "kpi_names",
    "load_scenario",
    "only",
    "parse_scenario",
    "processes",
    "scenario_data",
    "scenario_hash",
    "successors",
    "with_load",
    "with_room",
]

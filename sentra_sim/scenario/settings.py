"""Single keys of a scenario set from text: `stations.worker.replicas=2`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sentra_sim.errors import ScenarioError
from sentra_sim.scenario.complaints import nearest, read_yaml, shown
from sentra_sim.scenario.load import parse_scenario, scenario_data
from sentra_sim.scenario.schema import Scenario


def with_settings(scenario: Scenario, settings: Sequence[str], *, place: str) -> Scenario:
    """Returns the scenario with keys set: each setting is the way to a key with dots between, `=`, and a YAML value.

    Args:
        scenario: The pipeline.
        settings: For example `stations.worker.replicas=2`, `hosts.box={cores: 4, discipline: ps}`.
        place: Who sets them, for the messages.

    Raises:
        ScenarioError: a setting is written in another way, the way leads nowhere, or the scenario then breaks a rule.
    """
    data = scenario_data(scenario)
    for setting in settings:
        way, equals, value = setting.partition("=")
        keys = way.strip().split(".")
        if not equals or not all(keys):
            raise ScenarioError(
                f"{place}: must be KEY=VALUE, got {setting!r}; write for example stations.worker.replicas=2"
            )
        _block(data, keys[:-1], place)[keys[-1]] = read_yaml(value, place)
    return parse_scenario(data, place=place)


def _block(data: dict[str, Any], keys: Sequence[str], place: str) -> dict[str, Any]:
    """Returns the mapping at the end of the way."""
    for number, key in enumerate(keys):
        so_far = ".".join(keys[: number + 1])
        if key not in data:
            raise ScenarioError(
                f"{place}: {so_far}: must be a block that the scenario has, got none{nearest(key, data)}"
            )
        if not isinstance(data[key], Mapping):
            raise ScenarioError(
                f"{place}: {so_far}: must have keys to set one of them, got {shown(data[key])}; set {so_far} as a whole"
            )
        data = data[key]
    return data

"""YAML file → frozen scenario, or one line that says what to mend."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from sentra_sim.errors import ScenarioError
from sentra_sim.scenario.complaints import complaint, first_of, nearest, read_yaml, shown
from sentra_sim.scenario.schema import LATER, AnyStation, ConsumerGroup, Log, Scenario
from sentra_sim.scenario.series import with_series
from sentra_sim.scenario.shapes import Shape
from sentra_sim.scenario.topology import check_topology, only


def _kinds(union: Any) -> dict[str, type[BaseModel]]:
    return {get_args(model.model_fields["kind"].annotation)[0]: model for model in get_args(get_args(union)[0])}


KINDS = _kinds(AnyStation)
SHAPES = _kinds(Shape)


def load_scenario(path: str | Path) -> Scenario:
    """Reads and checks a scenario file.

    Raises:
        ScenarioError: the file cannot be read, is not YAML, or breaks a rule; the message names place, rule, value, remedy.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ScenarioError(
            f"{path}: cannot be read, {reason}; name a scenario file such as data/scenarios/sentra.yaml"
        ) from None
    return parse_scenario(with_series(read_yaml(text, path.name), path.parent, path.name), place=path.name)


def parse_scenario(data: object, *, place: str = "scenario") -> Scenario:
    """Checks already loaded data against the schema and the topology rules.

    Raises:
        ScenarioError: the first broken rule, in one line.
    """
    if not isinstance(data, Mapping):
        raise ScenarioError(f"{place}: must be a mapping, got {shown(data)}; start with schema_version: 1")
    try:
        scenario = Scenario.model_validate(data)
    except ValidationError as error:
        raise ScenarioError(f"{place}: {_first_rule(error, data)}") from None
    check_topology(scenario, place=place)
    return scenario


def with_load(
    scenario: Scenario,
    *,
    rate_eps: float | None = None,
    arrivals: str | None = None,
    steps: Sequence[tuple[float, float]] | None = None,
) -> Scenario:
    """Returns the scenario under another load; None keeps the scenario's own.

    Args:
        scenario: The pipeline.
        rate_eps: One rate for the whole load, in place of the scenario's steps too.
        arrivals: The arrival process.
        steps: Rate in events/s and length in seconds of each step, in place of the one rate.

    Raises:
        ScenarioError: a rate or length is not positive, the process is unknown, or both a rate and steps are given.
    """
    if rate_eps is not None and steps is not None:
        raise ScenarioError(f"{scenario.name}: load: must have one rate or steps, got both; leave one of them out")
    data = scenario_data(scenario)
    load = data["load"]
    if arrivals is not None:
        load["arrivals"] = arrivals
    if rate_eps is not None:
        load |= {"rate_eps": rate_eps, "steps": ()}
    if steps is not None:
        load["steps"] = [{"rate_eps": rate, "seconds": seconds} for rate, seconds in steps]
        del load["rate_eps"]  # follows from the steps
    return parse_scenario(data, place=scenario.name)


def with_room(scenario: Scenario, workers: int) -> Scenario:
    """Returns the scenario with room for so many consumers, one a partition at most: who controls a run may start them.

    Room alone changes nothing about a run.
    """
    (name, group), (_, log) = only(scenario, ConsumerGroup), only(scenario, Log)
    room = min(workers, log.partitions)
    if room <= group.most_replicas:
        return scenario
    data = scenario_data(scenario)
    data["stations"][name]["max_replicas"] = room
    return parse_scenario(data, place=scenario.name)


def scenario_data(scenario: Scenario) -> dict[str, Any]:
    """Returns the scenario as plain data that `parse_scenario` reads back to an equal scenario.

    Keys that came later are left out where they have their default: a scenario keeps the hash that it had before there were any.
    """
    data: dict[str, Any] = scenario.model_dump(mode="json", by_alias=True)
    _leave_out_later(scenario, data)
    return data


def _leave_out_later(value: object, data: Any) -> None:
    if isinstance(value, BaseModel):
        for name, field in type(value).model_fields.items():
            key, here = field.alias or name, getattr(value, name)
            if field.json_schema_extra == LATER and here == field.get_default(call_default_factory=True):
                del data[key]
            else:
                _leave_out_later(here, data[key])
    elif isinstance(value, Mapping):
        for key, here in value.items():
            _leave_out_later(here, data[key])
    elif isinstance(value, tuple):
        for here, there in zip(value, data, strict=True):
            _leave_out_later(here, there)


def scenario_hash(scenario: Scenario) -> str:
    """Returns the first 16 hex digits of the SHA-256 of the scenario's canonical JSON."""
    text = json.dumps(scenario_data(scenario), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _first_rule(error: ValidationError, data: Mapping[str, Any]) -> str:
    found = first_of(error)
    loc = found["loc"]
    kinds, at = (SHAPES, 3) if loc[:2] == ("load", "shape") else (KINDS, 2)
    kind = kinds[str(loc[at])] if len(loc) > at and loc[0] in ("stations", "load") and loc[at] in kinds else None
    # pydantic names the kind after the station or shape; a reader of the file does not.
    trail = [part for number, part in enumerate(loc) if not (kind and number == at) and part != "[key]"]
    where = ".".join(str(part) for part in trail)
    if found["type"] == "extra_forbidden":
        valid = _valid_names(kind, loc[at + 1 :]) if kind else _valid_names(Scenario, loc)
        return f"{where}: unknown key{nearest(str(trail[-1]), valid)}"
    if found["type"] == "missing":
        return f"{where}: missing; add it"
    if found["type"] == "union_tag_invalid":
        name = _kind_at(data, trail)
        return f"{where}.kind: must be one of {', '.join(kinds)}, got {name!r}{nearest(str(name), list(kinds))}"
    if found["type"] == "union_tag_not_found":
        return f"{where}.kind: missing; write one of {', '.join(kinds)}"
    return f"{where}: {complaint(found)}"


def _kind_at(data: Mapping[str, Any], trail: list[int | str]) -> object:
    here: Any = data
    for part in trail:
        here = here[part]
    return here.get("kind") if isinstance(here, Mapping) else here


def _valid_names(model: Any, loc: tuple[int | str, ...]) -> list[str]:
    for part in loc[:-1]:
        model = _step(model, part)
    model = next((arg for arg in get_args(model) if arg is not type(None)), model)  # of a block that may be left out
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return []
    return [field.alias or name for name, field in model.model_fields.items()]


def _step(model: Any, part: int | str) -> Any:
    if isinstance(model, type) and issubclass(model, BaseModel):
        for name, field in model.model_fields.items():
            if part in (name, field.alias):
                return field.annotation
        return None
    args = [arg for arg in get_args(model) if arg is not type(None) and arg is not Ellipsis]
    return args[-1] if args else None

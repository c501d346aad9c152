"""The twin on disk: a fitted scenario, its ensemble, and where every number came from."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from sentra_sim.errors import InputError
from sentra_sim.files import write_text_whole
from sentra_sim.scenario import Scenario, parse_scenario
from sentra_sim.scenario.schema import Delay, Demand

FITTED_TYPES = (Demand, Delay)


class Block(BaseModel):
    """A frozen block of the twin file that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TrainingRun(Block):
    """A run that the twin was fitted on, with the KPIs it measured (the naive baseline needs them)."""

    name: str
    sha256: str  # of the frames and events tables
    rate_eps: float
    scenario_hash: str
    started_at: str
    seconds: float
    valid: bool
    kpis: dict[str, float]


class ProcessFit(Block):
    """How one process's CPU was explained: `cores = idle + job_scale*jobs + event_scale*events` of the scenario's demands."""

    idle_cores: float
    job_scale: float
    event_scale: float
    worst_error: float  # largest relative error of the process's CPU over the training runs


class Twin(Block):
    """A calibrated twin. `members` are refits, each without one training run; they carry the parameters' uncertainty."""

    schema_version: Literal[1] = 1
    created_at: str
    scenario: dict[str, Any]
    members: tuple[dict[str, Any], ...]
    discipline: str
    losses: dict[str, float]  # per host discipline: mean Wasserstein-1 distance of hops and end to end, relative
    processes: dict[str, ProcessFit]
    repeatability: dict[str, float]  # relative standard deviation of a KPI between repeats of one load
    training: tuple[TrainingRun, ...]
    versions: dict[str, str]
    machine: dict[str, str | int | float]

    def fitted(self) -> Scenario:
        """Returns the scenario with the fitted demands and delays."""
        return parse_scenario(self.scenario, place="twin: scenario")

    def ensemble(self) -> tuple[Scenario, ...]:
        """Returns the refits as scenarios."""
        return tuple(apply_stations(self.fitted(), member) for member in self.members)


def apply_twin(twin: Twin, scenario: Scenario) -> Scenario:
    """Returns a scenario with the twin's demands, delays and host disciplines; structure and load stay the scenario's own.

    Raises:
        InputError: twin and scenario have no station in common.
    """
    fitted = twin.fitted()
    shared = [
        name
        for name, station in scenario.stations.items()
        if name in fitted.stations and fitted.stations[name].kind == station.kind
    ]
    if not shared:
        raise InputError(
            f"twin: must share stations with the scenario, got none in common with {scenario.name!r}; calibrate on runs of it"
        )
    return apply_stations(scenario, fitted_values(fitted))


def fitted_values(scenario: Scenario) -> dict[str, Any]:
    """Returns what a fit changes, as plain data: demands, delays and background jobs by station, disciplines by host."""
    stations: dict[str, Any] = {}
    for name, station in scenario.stations.items():
        fields = type(station).model_fields
        chosen = [
            field for field in fields if field == "background" or isinstance(getattr(station, field), FITTED_TYPES)
        ]
        stations[name] = station.model_dump(mode="json", include=set(chosen))
    hosts = {name: {"discipline": host.discipline, "slice_s": host.slice_s} for name, host in scenario.hosts.items()}
    return {"stations": stations, "hosts": hosts}


def apply_stations(scenario: Scenario, values: dict[str, Any]) -> Scenario:
    """Returns the scenario with the values of `fitted_values` put in where stations and hosts have the same names and fields."""
    data = scenario.model_dump(mode="json", by_alias=True)
    for name, fields in values["stations"].items():
        if name in data["stations"]:
            station = data["stations"][name]
            station.update({field: value for field, value in fields.items() if field in station})
    for name, fields in values["hosts"].items():
        if name in data["hosts"]:
            data["hosts"][name].update(fields)
    return parse_scenario(data, place="twin")


def save_twin(twin: Twin, path: str | Path) -> Path:
    """Writes the twin as YAML under a temporary name and renames it."""
    return write_text_whole(path, yaml.safe_dump(twin.model_dump(mode="json"), sort_keys=False, allow_unicode=True))


def load_twin(path: str | Path) -> Twin:
    """Reads a twin file.

    Raises:
        InputError: the file cannot be read or is not a twin.
    """
    path = Path(path)
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read, {error.strerror}; write one with sentra calibrate RUN... -o {path}"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise InputError(f"{path}: must be YAML; write one with sentra calibrate RUN... -o {path}") from None
    try:
        return Twin.model_validate(data)
    except ValidationError as error:
        found = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in found["loc"]) or "file"
        raise InputError(
            f"{path}: {where}: {found['msg'].lower()}; write the twin again with sentra calibrate"
        ) from None


def twin_hash(path: str | Path) -> str:
    """Returns the first 16 hex digits of the SHA-256 of a twin file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]

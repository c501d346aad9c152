"""A control file's blocks: YAML → frozen data, or one line that says what to mend."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from sentra_sim.errors import InputError, ScenarioError
from sentra_sim.scenario.complaints import complaint, first_of, nearest, read_yaml, shown


class Block(BaseModel):
    """A frozen block that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


B = TypeVar("B", bound=BaseModel)


def read_document(file: Path, kind: str) -> Mapping[str, object]:
    """Reads a YAML file that holds one mapping.

    Raises:
        InputError: it cannot be read, or is none; `kind` says what it should be.
    """
    try:
        data = read_yaml(file.read_text(encoding="utf-8"), file.name)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise InputError(f"{file}: cannot be read, {reason}; name {kind}") from None
    except ScenarioError as error:
        raise InputError(str(error)) from None
    if not isinstance(data, Mapping):
        raise InputError(f"{file.name}: must be a mapping, got {shown(data)}; write {kind}")
    return data


def parse(model: type[B], data: object, place: str) -> B:
    """Checks data against a block.

    Raises:
        InputError: the first broken rule, in one line, with the nearest name of an unknown key.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        found = first_of(error)
        where = ": ".join([place, *filter(None, [".".join(_trail(found["loc"], data))])])
        if found["type"] == "union_tag_invalid":
            key, valid = str(found["ctx"]["discriminator"]).strip("'"), found["ctx"]["expected_tags"]
            raise InputError(
                f"{where}.{key}: must be one of {valid}, got {found['ctx']['tag']!r}; write one of them"
            ) from None
        if found["type"] == "extra_forbidden":
            raise InputError(
                f"{where}: unknown key{nearest(str(found['loc'][-1]), _keys(model, found['loc']))}"
            ) from None
        told = "missing; add it" if found["type"] == "missing" else complaint(found)
        raise InputError(f"{where}: {told}") from None


def _trail(place: tuple[int | str, ...], data: object) -> list[str]:
    """Returns the keys on the way to a place in the data: pydantic also names which block of several it took."""
    trail: list[str] = []
    for number, part in enumerate(place):
        known = isinstance(data, Mapping) and part in data
        listed = isinstance(data, list) and isinstance(part, int) and part < len(data)
        if known or listed:
            data = data[part]  # type: ignore[index]
        elif number < len(place) - 1:
            continue
        trail.append(str(part))
    return trail


def _keys(model: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    """Returns the keys of the block in which an unknown one was found."""
    models = [model]
    for part in place[:-1]:
        inner = [block for one in models for block in _inner(one, part)]
        models = inner or [one for one in models if part in _tags(one)] or models
    return [field.alias or name for one in models for name, field in one.model_fields.items()]


def _inner(model: type[BaseModel], part: int | str) -> list[type[BaseModel]]:
    for name, field in model.model_fields.items():
        if part in (name, field.alias):
            return _blocks(field.annotation)
    return []


def _tags(model: type[BaseModel]) -> tuple[object, ...]:
    """Returns what tells a block from others of its place."""
    field = model.model_fields.get("type")
    return get_args(field.annotation) if field else ()


def _blocks(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in get_args(annotation) for found in _blocks(part)]

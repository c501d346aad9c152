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
        where = ".".join([place, *(str(part) for part in found["loc"])])
        if found["type"] == "extra_forbidden":
            raise InputError(
                f"{where}: unknown key{nearest(str(found['loc'][-1]), _keys(model, found['loc']))}"
            ) from None
        told = "missing; add it" if found["type"] == "missing" else complaint(found)
        raise InputError(f"{where}: {told}") from None


def _keys(model: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    """Returns the keys of the block in which an unknown one was found."""
    for part in place[:-1]:
        inner = _inner(model, part)
        model = inner or model
    return [field.alias or name for name, field in model.model_fields.items()]


def _inner(model: type[BaseModel], part: int | str) -> type[BaseModel] | None:
    for name, field in model.model_fields.items():
        if part in (name, field.alias):
            return next(iter(_blocks(field.annotation)), None)
    return None


def _blocks(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in get_args(annotation) for found in _blocks(part)]

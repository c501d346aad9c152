"""Releases of the pricing code: a folder each, with a manifest `release.yaml` that says what it prices with.

```yaml
schema_version: 1
name: slower          # the folder's name
version: 2.1.0
description: every job costs three times the CPU
seed: 11
change: {kind: slower, factor: 3.0}
```
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt, ValidationError

from live_adapters.pipeline.releases.valuation import CHUNK_EVENTS
from sentra_sim.errors import InputError
from sentra_sim.scenario.complaints import complaint, first_of, nearest, read_yaml

MANIFEST = "release.yaml"
STABLE_NAME = "stable"

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Factor = Annotated[float, Field(ge=1.0)]


class Block(BaseModel):
    """A frozen block of a manifest that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Change(Block):
    """What every kind of change may set: how many events the code prices at a time."""

    chunk_events: PositiveInt = CHUNK_EVENTS


class Unchanged(Change):
    """The code that is in service."""

    kind: Literal["none"] = "none"


class Rewrite(Change):
    """The same prices by another way through the events: nothing is wrong with it."""

    kind: Literal["rewrite"]


class Slower(Change):
    """Every job costs `factor` times the CPU."""

    kind: Literal["slower"]
    factor: Factor


class Tail(Change):
    """A `share` of the jobs costs `factor` times the CPU."""

    kind: Literal["tail"]
    share: Share
    factor: Factor


class Errors(Change):
    """A `share` of the requests fails with `reason`."""

    kind: Literal["errors"]
    share: Share
    reason: str


class Leak(Change):
    """Every request keeps `request_bytes` of memory for ever, up to `max_bytes` in all."""

    kind: Literal["leak"]
    request_bytes: PositiveInt
    max_bytes: PositiveInt


class ColdCache(Change):
    """The first `cold_events` events after the start cost `factor` times the CPU."""

    kind: Literal["cold-cache"]
    cold_events: PositiveInt
    factor: Factor


class Lag(Change):
    """Every request waits `wait_s` for something that costs no CPU."""

    kind: Literal["lag"]
    wait_s: PositiveFloat


class WrongPrice(Change):
    """A `share` of the prices is off by the relative `error`."""

    kind: Literal["wrong-price"]
    share: Share
    error: PositiveFloat


AnyChange = Unchanged | Rewrite | Slower | Tail | Errors | Leak | ColdCache | Lag | WrongPrice
CHANGES: dict[str, type[Change]] = {
    "none": Unchanged,
    "rewrite": Rewrite,
    "slower": Slower,
    "tail": Tail,
    "errors": Errors,
    "leak": Leak,
    "cold-cache": ColdCache,
    "lag": Lag,
    "wrong-price": WrongPrice,
}


class Release(Block):
    """A manifest. `seed` is of what the change draws: which jobs, requests or prices it hits."""

    schema_version: Literal[1] = 1
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")]
    version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")]
    description: str
    seed: NonNegativeInt = 0
    change: Annotated[AnyChange, Field(discriminator="kind")]


# In the code, not only in its folder: a pipeline without canary reads no release at all.
STABLE = Release(name=STABLE_NAME, version="1.0.0", description="what is in service", change=Unchanged())


def list_releases(folder: Path) -> list[str]:
    """Returns the names of the releases in a folder, sorted."""
    return sorted(file.parent.name for file in folder.glob(f"*/{MANIFEST}"))


def load_release(folder: Path, name: str) -> Release:
    """Reads and checks the manifest of a release.

    Raises:
        InputError: there is no such release, or its manifest breaks a rule; the message says where, which, and what to write.
    """
    known = list_releases(folder)
    if name not in known:
        raise InputError(f"releases: must be one of {folder}, got {name!r}{nearest(name, known)}")
    place = f"{name}/{MANIFEST}"
    release = parse_release(_read(folder / name / MANIFEST, place), place=place)
    if release.name != name:
        raise InputError(f"{place}: name: must be the folder's, got {release.name!r}; write {name!r}")
    return release


def parse_release(data: object, *, place: str = MANIFEST) -> Release:
    """Checks already loaded data against the schema of a manifest.

    Raises:
        InputError: the first broken rule, in one line.
    """
    if not isinstance(data, Mapping):
        raise InputError(f"{place}: must be a mapping, got {data!r}; start with schema_version: 1")
    try:
        return Release.model_validate(data)
    except ValidationError as error:
        raise InputError(f"{place}: {_first_rule(error, data)}") from None


def _read(file: Path, place: str) -> object:
    try:
        return read_yaml(file.read_text(encoding="utf-8"), place)
    except (OSError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{place}: must be a readable text file, got {reason}; mend it") from None


def _first_rule(error: ValidationError, data: Mapping[str, Any]) -> str:
    found = first_of(error)
    loc = [str(part) for part in found["loc"]]
    change = CHANGES.get(loc[1]) if len(loc) > 2 and loc[0] == "change" else None
    where = ".".join([loc[0], *loc[2:]] if change else loc)
    if found["type"] == "extra_forbidden":
        return f"{where}: unknown key{nearest(loc[-1], (change or Release).model_fields)}"
    if found["type"] == "missing":
        return f"{where}: missing; add it"
    if found["type"].startswith("union_tag"):
        kind = data["change"].get("kind")
        return f"{where}.kind: must be one of {', '.join(CHANGES)}, got {kind!r}{nearest(str(kind), CHANGES)}"
    return f"{where}: {complaint(found)}"

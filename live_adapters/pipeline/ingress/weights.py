"""The shares of keys that each pricing release gets: checked, and kept in the run's scratch folder for who routes by them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path

from sentra_sim.errors import InputError

WEIGHTS_FILE = "release-weights.json"
MAX_RELEASES = 16
NAME = r"[a-z0-9][a-z0-9._-]{0,62}"
_TOLERANCE = 1e-9


def check_weights(data: object) -> dict[str, float]:
    """Returns weights by release as floats.

    Raises:
        InputError: they are no shares that sum to 1.
    """
    if not isinstance(data, dict) or not 1 <= len(data) <= MAX_RELEASES:
        raise InputError(
            f"release-weights: must be an object of 1 to {MAX_RELEASES} releases, got {_short(data)}; name each"
        )
    for name, weight in data.items():
        if not re.fullmatch(NAME, name):
            raise InputError(f"release-weights: a release must match {NAME}, got {_short(name)}; rename it")
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= 1:
            raise InputError(
                f"release-weights.{name}: must be a number from 0 to 1, got {_short(weight)}; write a share"
            )
    total = math.fsum(data.values())
    if abs(total - 1.0) > _TOLERANCE:
        raise InputError(f"release-weights: must sum to 1, got {total:g}; scale them")
    return {name: float(weight) for name, weight in data.items()}


def write_weights(scratch: Path, weights: dict[str, float]) -> None:
    """Stores weights, whole for every reader."""
    part = scratch / f"{WEIGHTS_FILE}.part"
    part.write_text(json.dumps(weights) + "\n", encoding="utf-8")
    part.replace(scratch / WEIGHTS_FILE)


def read_weights(scratch: Path, default: Mapping[str, float]) -> dict[str, float]:
    """Returns the stored weights, or those that the run began with when none were."""
    file = scratch / WEIGHTS_FILE
    return check_weights(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else dict(default)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

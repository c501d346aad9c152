"""What a user gives a measured run by text and file: a canary with its weight, the gateway's rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from live_adapters.pipeline.config import RELEASES
from live_adapters.pipeline.ingress.rules import GatewayRules, Quota
from live_adapters.pipeline.releases.releases import STABLE_NAME, load_release
from sentra_sim.errors import InputError
from sentra_sim.scenario.complaints import complaint, first_of, nearest, read_yaml, shown


def canary_weights(text: str, releases: Path = RELEASES) -> dict[str, float]:
    """Returns the releases' weights for `RELEASE=WEIGHT`; stable has the rest.

    Raises:
        InputError: the text is not of that form, there is no such release, or the weight is none.

    >>> canary_weights("slower=0.25")
    {'stable': 0.75, 'slower': 0.25}
    """
    name, equals, weight = text.partition("=")
    if not equals:
        raise InputError(f"--canary: must be RELEASE=WEIGHT, got {text!r}; write for example good=0.2")
    if name == STABLE_NAME:
        raise InputError(
            f"--canary: must name a release beside {STABLE_NAME}, got {name!r}; {STABLE_NAME} has the rest"
        )
    try:
        share = float(weight)
    except ValueError:
        share = -1.0
    if not 0.0 <= share <= 1.0:
        raise InputError(f"--canary: the weight must be a number from 0 to 1, got {weight!r}; write for example 0.2")
    try:
        load_release(releases, name)
    except InputError as error:
        raise InputError(f"--canary: {error}") from None
    return {STABLE_NAME: 1.0 - share, name: share}


def read_gateway_rules(file: Path, tenants: int) -> GatewayRules:
    """Reads a gateway's rules from YAML: the names of `GatewayRules`, each with its default when left out.

    Raises:
        InputError: the file cannot be read, or the first broken rule, in one line.
    """
    try:
        data = read_yaml(file.read_text(encoding="utf-8"), file.name)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise InputError(f"{file}: cannot be read, {reason}; name a file of gateway rules (docs/gateway.md)") from None
    if not isinstance(data, Mapping):
        raise InputError(f"{file.name}: must be a mapping, got {shown(data)}; write names of GatewayRules")
    _check_names(data, GatewayRules, file.name)
    quotas = data.get("quotas")
    for number, quota in enumerate(quotas if isinstance(quotas, list) else ()):
        if isinstance(quota, Mapping):
            _check_names(quota, Quota, f"{file.name}: quotas.{number}")
    try:
        rules = TypeAdapter(GatewayRules).validate_python(data)
        rules.check_tenants(tenants)
    except ValidationError as error:
        found = first_of(error)
        where = ".".join(str(part) for part in found["loc"])
        told = "missing; add it" if found["type"] == "missing" else complaint(found)
        raise InputError(f"{file.name}: {where}: {told}") from None
    except InputError as error:
        raise InputError(f"{file.name}: {error}") from None
    return rules


def _check_names(data: Mapping[object, object], rules: type[GatewayRules | Quota], place: str) -> None:
    valid = [each.name for each in fields(rules)]
    for name in data:
        if name not in valid:
            raise InputError(f"{place}: {name}: unknown key{nearest(str(name), valid)}")

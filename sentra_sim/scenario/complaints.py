"""One line for what is wrong in a YAML file: its rule, its value, a remedy."""

from __future__ import annotations

import difflib
import re
from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from sentra_sim.errors import ScenarioError

LONGEST_VALUE = 80  # characters of a refused value that a message shows


class _Loader(yaml.SafeLoader):
    """YAML's safe subset, in which a key given twice is an error: the first of the two would silently vanish."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Builds one mapping."""
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    problem = f"found the key {key.value!r} a second time"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def read_yaml(text: str, place: str) -> object:
    """Reads YAML's safe subset.

    Raises:
        ScenarioError: it is none, or a key is given twice; with the line.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "not valid"
        raise ScenarioError(f"{place}{line}: must be YAML, {problem}; mend the line") from None
    except (ValueError, RecursionError):
        raise ScenarioError(
            f"{place}: must be YAML of a usual size, got a number or a nesting beyond it; mend the file"
        ) from None


def first_of(error: ValidationError) -> ErrorDetails:
    """Returns the broken rule to tell of: unknown keys first, for a misspelt key else hides behind the "missing" that it causes."""
    return sorted(error.errors(include_url=False), key=lambda item: item["type"] != "extra_forbidden")[0]


def complaint(found: ErrorDetails) -> str:
    """Returns rule, value and remedy of a broken rule."""
    return f"{_rule(found)}, got {_got(found)}; {_remedy(found)}"


def _got(found: ErrorDetails) -> str:
    """Returns the refused value; of a block too long to be shown whole, the keys that its rule speaks of."""
    value, rule = found.get("input"), _rule(found)
    if found["type"] == "value_error" and isinstance(value, Mapping) and len(repr(value)) > LONGEST_VALUE:
        spoken = {word.rstrip("s") for word in re.findall(r"[A-Za-z_]+", rule)}
        named = [f"{key} {shown(value[key])}" for key in value if str(key).rstrip("s") in spoken]
        return ", ".join(named) if named else "a mapping without"
    return shown(value)


def nearest(name: str, valid: Iterable[str]) -> str:
    """Returns the remedy for an unknown name: the nearest valid one, or all of them."""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; valid names: {', '.join(names)}" if names else ""


def _rule(found: ErrorDetails) -> str:
    kind, context, message = found["type"], found.get("ctx", {}), found["msg"]
    pattern = str(context.get("pattern"))
    dash = ", '-'" if "-]" in pattern else ""
    plain = {
        "dict_type": "must be a mapping",
        "model_type": "must be a mapping",
        "model_attributes_type": "must be a mapping",
        "tuple_type": "must be a list",
        "too_long": f"must hold {context.get('max_length')} items at most",
        "too_short": f"must hold {context.get('min_length')} or more",
        "string_pattern_mismatch": (
            f"must be lower-case letters, digits{dash} and '_', a letter first"
            if pattern.startswith("^[a-z]")
            else f"must match {pattern}"
        ),
        "invalid_key": "must be text",
    }
    if kind in plain:
        return plain[kind]
    if message.startswith("Input should be "):
        return f"must be {message.removeprefix('Input should be ')}"
    return message.removeprefix("Value error, ")


def shown(value: object) -> str:
    """Returns a refused value as a message shows it."""
    if value is None:
        return "nothing"
    text = repr(list(value) if isinstance(value, tuple) else value)
    if len(text) <= LONGEST_VALUE:
        return text
    word = "mapping" if isinstance(value, Mapping) else "list" if isinstance(value, list) else "long text"
    return f"a {word}"


UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "%": 0.01}


def _without_unit(value: object) -> float | None:
    """Returns what stands for a value that was written with a unit: seconds, or a share."""
    found = re.fullmatch(r"\s*([0-9.]+(?:e-?[0-9]+)?)\s*([a-zµ%]+)\s*", value) if isinstance(value, str) else None
    try:
        return float(found[1]) * UNITS[found[2]] if found else None
    except (KeyError, ValueError):
        return None


def _remedy(found: ErrorDetails) -> str:
    context = found.get("ctx", {})
    if (plain := _without_unit(found.get("input"))) is not None:
        return f"write {plain:g}, without a unit"
    if context.get("gt") == 0:
        return "write a positive number"
    if context.get("ge") == 0:
        return "write zero or more"
    return "mend the value"

"""Writes the two reference pages from the code: `python docs/make_reference.py`. A test holds the pages equal to it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from sentra_sim.kpi import kpis
from sentra_sim.records import (
    DETAIL_COLUMNS,
    EVENT_COLUMNS,
    JOB_COLUMNS,
    METRIC_COLUMNS,
    OUTCOMES,
    PAUSE_COLUMNS,
    Manifest,
    Validity,
    metrics_table,
)
from sentra_sim.records import manifest as manifest_module
from sentra_sim.records import tables as tables_module
from sentra_sim.records.tables import FRAME_COLUMNS
from sentra_sim.scenario import Scenario, kpi_names, load_scenario, schema, shapes

HERE = Path(__file__).parent
NOTE = "<!-- Written by docs/make_reference.py from the code; change the docstrings there, then run it again. -->"
SENTRA = HERE.parent / "data" / "scenarios" / "sentra.yaml"
KINDS = (schema.Source, schema.Batcher, schema.Log, schema.ConsumerGroup, schema.Pool, schema.Store, schema.Broadcast)
BLOCKS = (
    schema.Load,
    schema.Step,
    schema.Sizes,
    shapes.Mmpp,
    shapes.State,
    shapes.Burst,
    shapes.Ramp,
    shapes.Flash,
    shapes.Diurnal,
    shapes.Trace,
    schema.ClientRetry,
    schema.Admission,
    schema.Backpressure,
    schema.TokenBucket,
    schema.Quota,
    schema.Lane,
    schema.Host,
    schema.Demand,
    schema.Delay,
    schema.Noise,
    schema.Background,
    schema.Release,
    schema.Retry,
    schema.Breaker,
    schema.Pause,
    schema.Warmup,
    schema.Neighbour,
    schema.Checkpoint,
    schema.Relay,
    schema.Blocking,
    schema.Recovery,
    schema.Merges,
    schema.Subscribers,
    schema.ServerSentEvents,
    schema.Span,
    schema.Bound,
)
PATTERNS = {"^[a-z][a-z0-9_-]*$": "name", "^[a-z][a-z0-9_]*$": "hop"}


def scenario_reference() -> str:
    """Returns the page on scenario files."""
    parts = [
        "# Scenario files",
        NOTE,
        "A scenario is a YAML file that describes a pipeline and its load; `data/scenarios/sentra.yaml` and "
        "those in `examples` are some. Keys that are not listed here are refused, and so is a key given twice. Times are "
        "seconds, demands are CPU seconds on one core of the station's host, rates are events per second. A *name* is lower-case "
        "letters, digits, `-` and `_`, a *hop* the same without `-`; both begin with a letter.",
        "A pipeline holds exactly one `source`, one `batcher`, one `log` and one `consumer_group`, in this order; the consumer "
        "group calls any number of `pool` and `store` stations, and these may lead on to others and to `broadcast` stations. "
        "Every station is reached by exactly one way. Every hop is written by one station.",
        _section("The file", Scenario),
        "## Stations",
        _paragraphs(schema.Station),
        _table(schema.Station),
        *(_section(f"`kind: {_kind(model)}`", model, without=schema.Station, level=3) for model in KINDS),
        "## Blocks",
        *(_section(f"`{model.__name__}`", model, level=3) for model in BLOCKS),
        _kpi_section(),
    ]
    return "\n\n".join(parts) + "\n"


def record_contract() -> str:
    """Returns the page on run folders."""
    parts = [
        "# The record contract",
        NOTE,
        "A run, simulated or measured, is a folder of four files: `frames.parquet`, `events.parquet`, `metrics.parquet` and "
        "`manifest.json`. A measured one has [more](#optional-tables). It is "
        "written under a temporary name and renamed, so a folder that is there is whole; reading checks "
        "every table against its checksum, its columns and the number and order of its events. A value that was not measured "
        "is null, never zero.",
        "## `frames`\n\nOne row per frame: a batch of events that travels together.",
        _columns("FRAME_COLUMNS", FRAME_COLUMNS),
        "After these comes one column `<hop>_ns` (Int64) for every hop of the scenario, in the order of a frame's way: "
        "nanoseconds since the run's epoch, null where the frame never got there. The epoch is the start of the load. "
        f"Outcomes are {', '.join(f'`{outcome}`' for outcome in OUTCOMES)}.",
        "## `events`\n\nOne row per event: those of the first frame first, in the order of the rows of `frames`.",
        _columns("EVENT_COLUMNS", EVENT_COLUMNS),
        "End-to-end latency is the last hop minus the *intended* send time, for every event: an event that was sent late, because "
        "the pipeline or the generator was late, counts from when it should have been sent.",
        "## `metrics`\n\nOne row per second and series.",
        _columns("METRIC_COLUMNS", METRIC_COLUMNS),
        _paragraphs(metrics_table).split("\n\n", 1)[1],
        "## Optional tables\n\nMeasured runs have them, simulated and older ones do not; the manifest's `files` names those that are "
        "there. Their times are nanoseconds since the run's epoch, on the clock of the frames' hops.",
        "### `jobs`\n\nOne row per unit of work of a process.",
        _columns("JOB_COLUMNS", JOB_COLUMNS),
        "### `pauses`\n\nOne row per pause of a whole process.",
        _columns("PAUSE_COLUMNS", PAUSE_COLUMNS),
        "### `details`\n\nOne row per frame, in the order of `frames`: times between the hops that no KPI is made of.",
        _columns("DETAIL_COLUMNS", DETAIL_COLUMNS),
        "## `manifest.json`",
        _paragraphs(Manifest),
        _fields(Manifest),
        "### `validity`",
        _paragraphs(Validity),
        _fields(Validity),
    ]
    return "\n\n".join(parts) + "\n"


PAGES = {"scenario-reference.md": scenario_reference, "record-contract.md": record_contract}


def _section(title: str, model: type[BaseModel], *, without: type[BaseModel] | None = None, level: int = 2) -> str:
    return f"{'#' * level} {title}\n\n{_paragraphs(model)}\n\n{_table(model, without)}"


def _table(model: type[BaseModel], without: type[BaseModel] | None = None) -> str:
    data = model.model_json_schema(by_alias=True)
    hidden = set(without.model_fields) if without else set()
    rows = [
        f"| `{key}` | {_value(field)} | {_default(field, key in data.get('required', []))} |"
        for key, field in data["properties"].items()
        if key not in hidden | {"kind"}
    ]
    return "\n".join(["| key | value | default |", "|---|---|---|", *rows])


def _value(field: Mapping[str, Any]) -> str:
    if "$ref" in field:
        name = field["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in field:
        return " or ".join(_value(option) for option in field["anyOf"] if option.get("type") != "null")
    if "oneOf" in field:
        return "one of the kinds below"
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"])
    return _container(field) or _plain(field)


def _container(field: Mapping[str, Any]) -> str:
    if "prefixItems" in field:
        return f"list of {len(field['prefixItems'])}: {', '.join(_value(item) for item in field['prefixItems'])}"
    if field.get("type") == "array":
        return f"list of {_value(field['items'])}"
    if "patternProperties" in field:
        ((pattern, value),) = field["patternProperties"].items()
        return f"mapping from {PATTERNS[pattern]} to {_value(value)}"
    if isinstance(field.get("additionalProperties"), dict):
        return f"mapping from KPI to {_value(field['additionalProperties'])}"
    return ""


def _plain(field: Mapping[str, Any]) -> str:
    if "pattern" in field:
        return PATTERNS[field["pattern"]]
    word = {"integer": "whole number", "number": "number", "boolean": "true or false", "string": "text"}[field["type"]]
    limits = {"exclusiveMinimum": ">", "minimum": "≥", "maximum": "≤"}
    return " ".join(
        [word, " and ".join(f"{sign} {field[key]:g}" for key, sign in limits.items() if key in field)]
    ).strip()


def _default(field: Mapping[str, Any], required: bool) -> str:
    if required:
        return "*required*"
    value = field.get("default")
    if isinstance(value, dict):
        return "all defaults" if value else "none"
    if value is None or value in ("", []):
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`".replace("'", "")


def _kind(model: type[BaseModel]) -> str:
    return str(model.model_json_schema()["properties"]["kind"]["const"])


def _kpi_section() -> str:
    spans = ("p50", "p95", "p99")
    flow = [name for name in kpi_names(load_scenario(SENTRA)) if not name.endswith(tuple(f"_{q}_s" for q in spans))]
    return (
        "## KPIs that `slo` can bound\n\n"
        f"{_paragraphs(kpis)}\n\nFor each span `X` of `kpis`: {', '.join(f'`X_{q}_s`' for q in spans)} (seconds). For every run: "
        f"{', '.join(f'`{name}`' for name in flow)}."
    )


def _columns(name: str, columns: Mapping[str, Any]) -> str:
    words = dict(_comments(inspect.getsource(tables_module), name))
    rows = [f"| `{column}` | {kind} | {words[column]} |" for column, kind in columns.items()]
    return "\n".join(["| column | type | meaning |", "|---|---|---|", *rows])


def _fields(model: type[BaseModel]) -> str:
    words = dict(_comments(inspect.getsource(manifest_module), model.__name__))
    rows = [
        f"| `{name}` | {_type_name(field.annotation)} | {words.get(name, '')} |"
        for name, field in model.model_fields.items()
    ]
    return "\n".join(["| field | type | meaning |", "|---|---|---|", *rows])


def _type_name(annotation: Any) -> str:
    text = (
        annotation.__name__ if isinstance(annotation, type) and not hasattr(annotation, "__args__") else str(annotation)
    )
    return re.sub(r"typing\.|\[Any\]", "", text).replace("|", "or")


def _comments(source: str, block: str) -> Iterator[tuple[str, str]]:
    """Yields (key, comment) of the lines of a dictionary or class; a comment stands behind its key or right above it."""
    lines = source.split(block, 1)[1].splitlines()[1:]
    above: list[str] = []
    for line in lines:
        if line and not line.startswith(" "):
            return
        if line.strip().startswith("#"):
            above.append(line.strip("# "))
            continue
        found = re.match(r'    "?(\w+)"?: [^#]*(?:# (.*))?$', line)
        if found:
            yield found[1], found[2] or " ".join(above)
        above = []


def _paragraphs(documented: Any) -> str:
    text = inspect.getdoc(documented) or ""
    return "\n\n".join(" ".join(part.split("\n")) for part in text.split("\n\n"))


if __name__ == "__main__":
    for page, text in PAGES.items():
        (HERE / page).write_text(text(), encoding="utf-8")

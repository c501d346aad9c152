"""A recorded series from a CSV file, checked row by row: what a load's `trace` replays."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from sentra_sim.errors import ScenarioError
from sentra_sim.scenario.complaints import nearest, shown
from sentra_sim.scenario.shapes import MOST_ROWS, Trace

SAME_INTERVAL = 1e-6  # of an interval: how far two of them may differ by rounding


class Row(NamedTuple):
    """One row: its number in the file (the header is row 1), when, how much."""

    number: int
    time_s: float
    value: float


def with_series(data: object, folder: Path, place: str) -> object:
    """Returns a scenario's data with the series of its traces read from their files, relative to `folder`.

    Raises:
        ScenarioError: a file is missing or not a series of equal intervals; with the row.
    """
    load = data.get("load") if isinstance(data, Mapping) else None
    shapes = load.get("shape") if isinstance(load, Mapping) else None
    if not isinstance(data, Mapping) or not isinstance(load, Mapping) or not isinstance(shapes, list):
        return data
    filled = [_filled(shape, folder, f"{place}: load.shape.{number}") for number, shape in enumerate(shapes)]
    return {**data, "load": {**load, "shape": filled}}


def _filled(shape: Any, folder: Path, where: str) -> Any:
    if not isinstance(shape, Mapping) or shape.get("kind") != "trace" or "file" not in shape:
        return shape
    if "values" in shape or "interval_s" in shape:
        raise ScenarioError(
            f"{where}: must name a file or hold interval_s and values, got both; leave out one of the two"
        )
    # The other keys are checked with the whole scenario, but those that say how to read the file are needed now.
    known = {name: value for name, value in shape.items() if name in Trace.model_fields}
    asked = Trace.model_construct(**known)
    for name, kind in {"file": str, "column": str, "time_column": str, "skip_rows": int, "take_rows": int}.items():
        if name in known and (not isinstance(known[name], kind) or isinstance(known[name], bool)):
            raise ScenarioError(f"{where}.{name}: must be {_KINDS[kind]}, got {known[name]!r}; mend the value")
    for name, least in {"skip_rows": 0, "take_rows": 1}.items():
        if name in known and known[name] < least:
            raise ScenarioError(f"{where}.{name}: must be >= {least}, got {known[name]}; write {least} or more")
    if not asked.column:
        raise ScenarioError(f"{where}.column: missing; name the column that holds the counts or rates")
    interval_s, values = read_series(folder / asked.file, asked, where)
    return {**shape, "interval_s": interval_s, "values": values}


_KINDS: dict[type, str] = {str: "text", int: "a whole number"}


def read_series(file: Path, asked: Trace, where: str) -> tuple[float, list[float]]:
    """Returns the interval, s, and the values of a series.

    Args:
        file: a CSV file with a header.
        asked: which column and rows of it, and what to do about missing rows.
        where: the place in the scenario, for messages.

    Raises:
        ScenarioError: the file cannot be read or breaks a rule; with the row.
    """
    place = f"{where}: {file.name}"
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:  # a name with a null byte is a ValueError too
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ScenarioError(
            f"{where}.file: {str(file)!r} cannot be read, {reason}; name a CSV file relative to the scenario's"
        ) from None
    if not text.strip():
        raise ScenarioError(f"{place}: must be a CSV file with a header, got an empty one; name another file")
    rows = list(_rows(text, asked, place))
    held, rows = len(rows), rows[asked.skip_rows :][: asked.take_rows]
    if len(rows) < 2:
        of = f" of its {held}" if held > len(rows) else ""
        raise ScenarioError(f"{place}: must hold two rows or more, got {len(rows)}{of}; take more rows, or skip fewer")
    if not any(row.value for row in rows):
        raise ScenarioError(
            f"{place} rows {rows[0].number} to {rows[-1].number}: must hold a {asked.column} > 0, got zeros; "
            "take other rows, or another column"
        )
    return _even(rows, asked, place)


def _rows(text: str, asked: Trace, place: str) -> Iterator[Row]:
    reader = csv.DictReader(text.splitlines())
    names = list(reader.fieldnames or [])
    time_column = asked.time_column or next(iter(names), "")
    for key, name in (("column", asked.column), ("time_column", time_column)):
        if len(names) == 1 and any(mark in names[0] for mark in ";\t"):
            raise ScenarioError(f"{place}: must have commas between columns, got {names[0]!r}; write it with commas")
        if names.count(name) != 1:
            if name not in names:
                raise ScenarioError(
                    f"{place}: must have the {key} {name!r}, got none{nearest(name, names) or '; add it'}"
                )
            raise ScenarioError(f"{place}: must have the {key} {name!r} once, got two; rename one of them")
    dated: bool | None = None  # whether times are dates: as in the first row, so in all
    for record in reader:
        row = f"{place} row {reader.line_num}"
        if None in record:
            cells = len(names) + len(record[None])  # where csv puts what is beyond the header
            raise ScenarioError(
                f"{row}: must have {len(names)} cells as the header has, got {cells}; write numbers without commas"
            )
        time_s, here = _time_s(record[time_column], row)
        if here is not (dated := here if dated is None else dated):
            raise ScenarioError(
                f"{row}: must give its time as the rows before do, got {record[time_column]!r}; write all as dates or all as seconds"
            )
        yield Row(reader.line_num, time_s, _value(record[asked.column], asked.column, row))


def _time_s(text: str | None, row: str) -> tuple[float, bool]:
    """Returns a time in seconds, and whether it was a date."""
    try:
        time_s = float(text or "")
    except ValueError:
        pass
    else:
        if math.isfinite(time_s):
            return time_s, False
    try:
        time = datetime.fromisoformat((text or "").strip())
    except ValueError:
        raise ScenarioError(
            f"{row}: must begin at an ISO 8601 time or at seconds, got {shown(text)}; mend the row, or leave it out with gaps: hold or zero"
        ) from None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp(), True


def _value(text: str | None, column: str, row: str) -> float:
    try:
        value = float(text or "")
    except ValueError:
        raise ScenarioError(
            f"{row}: {column} must be a number, got {shown(text)}; fill it in, or leave the row out with gaps: hold or zero"
        ) from None
    if not (math.isfinite(value) and value >= 0.0):
        raise ScenarioError(
            f"{row}: {column} must be finite and >= 0, got {value}; fill it in, or leave the row out with gaps: hold or zero"
        )
    return value


def _even(rows: list[Row], asked: Trace, place: str) -> tuple[float, list[float]]:
    interval_s = rows[1].time_s - rows[0].time_s
    values = [rows[0].value]
    for before, here in pairwise(rows):
        step_s = here.time_s - before.time_s
        where = f"{place} row {here.number}"
        if step_s <= 0.0:
            word = "differ from" if step_s == 0.0 else "come after"
            raise ScenarioError(f"{where}: must {word} the row before, got {step_s:g} s; sort the rows, each time once")
        count = round(step_s / interval_s)
        if count < 1 or abs(step_s - count * interval_s) > SAME_INTERVAL * interval_s:
            raise ScenarioError(
                f"{where}: must follow by {interval_s:g} s as the first two do, got {step_s:g} s; resample to equal intervals"
            )
        if count > 1 and asked.gaps == "refuse":
            raise ScenarioError(
                f"{where}: must follow by {interval_s:g} s, got a gap of {step_s:g} s; write gaps: hold or zero, or skip the rows before"
            )
        if len(values) + count > MOST_ROWS:
            raise ScenarioError(f"{where}: must end within {MOST_ROWS:,} intervals, got more; write take_rows")
        values += [before.value if asked.gaps == "hold" else 0.0] * (count - 1)
        values.append(here.value)
    return interval_s, values

"""The journal of a controlled run: what was seen, decided and done, by whom and when."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

JOURNAL = "control.jsonl"  # in a run folder

What = Literal["saw", "decided", "did", "failed"]


@dataclass(frozen=True)
class Entry:
    """One line: at which second of the load, who, and what.

    `detail` of what was seen are the metrics, with the window as `window_s`; of a deed its fields, with its name as `action`; of
    a decision what it rests on.
    """

    at_s: float
    who: str
    what: What
    text: str = ""
    detail: dict[str, Any] = field(default_factory=dict)


class Journal:
    """Entries in order of time."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def add(self, at_s: float, who: str, what: What, text: str, detail: Mapping[str, Any]) -> None:
        """Adds an entry."""
        self.entries.append(Entry(at_s, who, what, text, dict(detail)))

    def of(self, what: What, who: str | None = None) -> Iterator[Entry]:
        """Yields the entries of one kind, of one controller or of all."""
        return (entry for entry in self.entries if entry.what == what and who in (None, entry.who))

    def write(self, file: Path) -> Path:
        """Writes the entries as JSON lines and returns the file."""
        file.write_text("".join(json.dumps(asdict(entry)) + "\n" for entry in self.entries), encoding="utf-8")
        return file


def read_journal(file: Path) -> list[Entry]:
    """Reads a journal back."""
    return [Entry(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]

"""Up to where the edge has confirmed frames, kept in the run's scratch folder: an edge started anew knows what it can not get again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

FILE = "fanout.confirmed.json"


class Memory:
    """The file. Frames above what it holds are still in the outbox, and come again to an edge that was killed."""

    def __init__(self, scratch: Path, topic: str) -> None:
        self._file = scratch / FILE
        self._topic = topic
        self._last: dict[int, int] = {}

    def read(self) -> dict[int, int]:
        """Returns the offsets by partition; none before the first confirmation of this topic."""
        if self._file.is_file():
            data = json.loads(self._file.read_text(encoding="utf-8"))
            if data["topic"] == self._topic:
                self._last = {int(partition): offset for partition, offset in data["confirmed"].items()}
        return dict(self._last)

    def write(self, offsets: Mapping[int, int]) -> None:
        """Writes the offsets whole, when they are new."""
        if offsets == self._last:
            return
        self._last = dict(offsets)
        part = self._file.with_suffix(".part")
        part.write_text(json.dumps({"topic": self._topic, "confirmed": self._last}), encoding="utf-8")
        part.replace(self._file)

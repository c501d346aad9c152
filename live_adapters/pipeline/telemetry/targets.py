"""Where Prometheus finds the processes of a run: `$SENTRA_HOME/prometheus-targets.json`, for its `file_sd_configs`."""

from __future__ import annotations

import json
from pathlib import Path

from live_adapters.pipeline.telemetry.exposition import LOOPBACK, PORT_SUFFIX

TARGETS_FILE = "prometheus-targets.json"


class Targets:
    """The file while a run goes on; it is rewritten when a process came or was started again."""

    def __init__(self, file: Path, run: str, folders: tuple[Path, ...]) -> None:
        self._file, self._run, self._folders = file, run, folders
        self._written = ""

    def refresh(self) -> None:
        """Writes the file when it would change."""
        text = json.dumps(self._found(), indent=1) + "\n"
        if text != self._written:
            part = self._file.with_suffix(".json-part")
            part.write_text(text, encoding="utf-8")
            part.replace(self._file)
            self._written = text

    def remove(self) -> None:
        """Removes the file: nobody is there to be asked."""
        self._file.unlink(missing_ok=True)

    def _found(self) -> list[dict[str, object]]:
        files = sorted(file for folder in self._folders for file in folder.glob(f"*{PORT_SUFFIX}"))
        return [
            {
                "targets": [f"{LOOPBACK}:{int(file.read_text(encoding='ascii'))}"],
                "labels": {"process": file.stem, "run": self._run},
            }
            for file in files
        ]

"""What the dashboard knows: the runs of a workspace folder, read once each, and the validation beside them."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from sentra_sim.errors import RecordingError, SentraError
from sentra_sim.kpi import Kpi, kpis
from sentra_sim.plots import RunView, view_run
from sentra_sim.records import Manifest, is_run, read_manifest, read_run

KEPT_RUNS = 16  # a digest is a few hundred kB; the tables behind it are dropped
TABLES = ("frames", "events", "metrics")
SPAN = "e2e"


@dataclass(frozen=True)
class Entry:
    """A run folder as listed: its manifest, or one line that says why it cannot be read."""

    name: str
    path: Path
    manifest: Manifest | None
    problem: str | None


@dataclass(frozen=True)
class Digest:
    """What is kept of a run that was read: numbers for the plots and its KPIs."""

    name: str
    manifest: Manifest
    view: RunView
    kpis: tuple[Kpi, ...]


class Store:
    """The runs of a workspace. Reading is lazy; a run that changed on disk is read again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._digests: OrderedDict[tuple[str, int], Digest] = OrderedDict()

    def entries(self) -> tuple[Entry, ...]:
        """Lists the folder's runs, the latest first; folders that hold no recording at all are left out."""
        if not self.folder.is_dir():
            return ()
        folders = [path for path in sorted(self.folder.iterdir()) if _holds_recording(path)]
        found = [_entry(path) for path in folders]
        return tuple(sorted(found, key=lambda entry: entry.manifest.started_at if entry.manifest else "", reverse=True))

    def digest(self, name: str) -> Digest:
        """Reads a run of the folder, or returns what was read before.

        Raises:
            RecordingError: there is no such run, or it is damaged; the message is one line.
        """
        path = self.folder / name
        if Path(name).name != name or not is_run(path):
            raise RecordingError(
                f"{name}: must name a run of {self.folder}, got no such folder; choose one from the list"
            )
        key = (name, _changed_ns(path))
        if key not in self._digests:
            self._digests[key] = _read(path)
            while len(self._digests) > KEPT_RUNS:
                self._digests.popitem(last=False)
        self._digests.move_to_end(key)
        return self._digests[key]

    def default_pair(self, held_out: tuple[str, ...] = ()) -> tuple[str, str] | None:
        """Returns the runs to compare first: a held-out measured run, else the latest one, and the simulation nearest to it.

        Without a simulated run the second is another measured one; None with fewer than one readable run.
        """
        readable = [entry for entry in self.entries() if entry.manifest]
        measured = [entry for entry in readable if entry.manifest and entry.manifest.source == "measured"]
        preferred = [entry for entry in measured if entry.name in held_out]
        first = next(iter([*preferred, *measured, *readable]), None)
        if first is None:
            return None
        simulated = [entry for entry in readable if entry.manifest and entry.manifest.source == "simulated"]
        others = [entry for entry in (simulated or measured) if entry.name != first.name]
        return first.name, min(others, key=lambda entry: _distance(entry, first)).name if others else first.name


def _holds_recording(path: Path) -> bool:
    if not path.is_dir() or path.name.startswith("."):
        return False
    return is_run(path) or any((path / f"{table}.parquet").exists() for table in TABLES)


def _entry(path: Path) -> Entry:
    try:
        manifest = read_manifest(path)
        if not _tables_open(path):
            read_run(path)  # says which table is damaged, and how
    except SentraError as error:
        return Entry(path.name, path, None, _shortened(str(error), path))
    return Entry(path.name, path, manifest, None)


def _tables_open(path: Path) -> bool:
    """Reads the tables' footers alone; a table that was cut off has none."""
    try:
        for table in TABLES:
            pl.read_parquet_schema(path / f"{table}.parquet")
    except (pl.exceptions.PolarsError, OSError):
        return False
    return True


def _read(path: Path) -> Digest:
    run = read_run(path)
    return Digest(run.name, run.manifest, view_run(run, span=span_of(run.manifest)), kpis(run))


def span_of(manifest: Manifest) -> str:
    """Returns the span whose distribution a page shows: end to end, or the scenario's first.

    Raises:
        RecordingError: the scenario names no span at all.
    """
    spans = manifest.load_scenario().kpis
    if not spans:
        raise RecordingError(
            "scenario: kpis: must name at least one span to show a latency, got none; add e2e: {from:, to:}"
        )
    return SPAN if SPAN in spans else next(iter(spans))


def _changed_ns(path: Path) -> int:
    return max(file.stat().st_mtime_ns for file in path.iterdir())


def _shortened(message: str, path: Path) -> str:
    """Leaves the folder's own path out of a message that is shown beside its name."""
    return message.replace(f"{path}/", "").removeprefix(f"{path}: ")


def _distance(entry: Entry, to: Entry) -> tuple[bool, float]:
    assert entry.manifest  # readable entries only
    assert to.manifest
    other_pipeline = entry.manifest.scenario.get("name") != to.manifest.scenario.get("name")
    return other_pipeline, abs(entry.manifest.rate_eps - to.manifest.rate_eps)

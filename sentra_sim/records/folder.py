"""A run on disk: a folder of three Parquet tables and a manifest, written whole or not at all."""

from __future__ import annotations

import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from pydantic import ValidationError

from sentra_sim.errors import RecordingError
from sentra_sim.records.manifest import Manifest
from sentra_sim.records.tables import EVENT_COLUMNS, METRIC_COLUMNS, Tables, frame_schema

TABLES = ("frames", "events", "metrics")
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Run:
    """A run read back: its tables, its manifest, and the folder it came from."""

    path: Path
    manifest: Manifest
    tables: Tables

    @property
    def name(self) -> str:
        """The folder's name, by which pages and reports call the run."""
        return self.path.name


def write_run(path: str | Path, tables: Tables, manifest: Manifest, *, replace: bool = False) -> Path:
    """Writes a run folder under a temporary name and renames it.

    Raises:
        RecordingError: the folder exists and `replace` is false, or it exists and is not a run.
    """
    path = Path(path)
    refuse_existing(path, replace=replace)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}.part"
    part.mkdir()
    try:
        for name in TABLES:
            frame: pl.DataFrame = getattr(tables, name)
            frame.write_parquet(part / f"{name}.parquet", compression="zstd", compression_level=6)
        (part / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
        if path.exists():
            old = part.with_suffix(".old")
            path.rename(old)
            part.rename(path)
            shutil.rmtree(old)
        else:
            part.rename(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return path


def refuse_existing(path: str | Path, *, replace: bool = False) -> None:
    """Checks, before any long work, that a run may be written to `path`.

    Raises:
        RecordingError: something is there already that must not be overwritten.
    """
    path = Path(path)
    if not path.exists():
        return
    if not replace:
        raise RecordingError(
            f"{path}: must not exist yet, got a {'folder' if path.is_dir() else 'file'}; choose another name or add --replace"
        )
    if not (path / MANIFEST).is_file():
        raise RecordingError(
            f"{path}: --replace overwrites run folders only, got something without {MANIFEST}; choose another name"
        )


def is_run(path: Path) -> bool:
    """Tells whether a path looks like a finished run folder."""
    return (path / MANIFEST).is_file()


def read_manifest(path: str | Path) -> Manifest:
    """Reads the manifest of a run folder.

    Raises:
        RecordingError: the folder is missing, is not a run, or its manifest is damaged or of another contract version.
    """
    path = Path(path)
    if not path.is_dir():
        kind = "a file" if path.exists() else "nothing"
        raise RecordingError(
            f"{path}: must be a run folder, got {kind}; name a folder written by sentra measure or sentra simulate"
        )
    if not (path / MANIFEST).is_file():
        raise RecordingError(
            f"{path}: must be a run folder, got one without {MANIFEST}; name a folder written by sentra measure or sentra simulate"
        )
    try:
        return Manifest.model_validate_json((path / MANIFEST).read_bytes())
    except ValidationError as error:
        found = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in found["loc"]) or "file"
        raise RecordingError(f"{path / MANIFEST}: {where}: {found['msg']}; record the run again") from None


def read_run(path: str | Path) -> Run:
    """Reads a run folder and checks it against the record contract.

    Raises:
        RecordingError: not a run folder, or a table is missing, cut off or of other columns.
    """
    path = Path(path)
    manifest = read_manifest(path)
    schemas = {"frames": frame_schema(manifest.hops()), "events": EVENT_COLUMNS, "metrics": METRIC_COLUMNS}
    tables = Tables(**{name: _read_table(path / f"{name}.parquet", schemas[name]) for name in TABLES})
    carried = int(tables.frames["events"].sum())
    if carried != tables.events.height:
        raise RecordingError(
            f"{path}: events.parquet must hold {carried} events, got {tables.events.height}; record the run again"
        )
    return Run(path=path, manifest=manifest, tables=tables)


def _read_table(file: Path, schema: dict[str, object]) -> pl.DataFrame:
    if not file.is_file():
        raise RecordingError(f"{file}: missing; the recording was cut off, record the run again")
    try:
        table = pl.read_parquet(file)
    except (pl.exceptions.PolarsError, OSError):
        raise RecordingError(
            f"{file}: must be a whole Parquet file, got {file.stat().st_size} damaged bytes; record the run again"
        ) from None
    if dict(table.schema) != schema:
        wrong = [name for name in {*schema, *table.columns} if table.schema.get(name) != schema.get(name)]
        raise RecordingError(
            f"{file}: columns must follow the record contract, got a difference in {', '.join(sorted(wrong))}; record the run again"
        )
    return table

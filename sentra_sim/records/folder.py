"""A run on disk: a folder of Parquet tables and a manifest, written whole or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from pydantic import ValidationError

from sentra_sim.errors import RecordingError, ScenarioError
from sentra_sim.records.manifest import Manifest
from sentra_sim.records.tables import EVENT_COLUMNS, METRIC_COLUMNS, OPTIONAL_TABLES, Tables, frame_schema

TABLES = ("frames", "events", "metrics")
MANIFEST = "manifest.json"
ORDER_FRAMES = 100_000  # whose events are compared at once
EVIDENCE = "evidence"  # a measured run's further tables, from which exactly-once effects are judged


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


def write_run(
    path: str | Path,
    tables: Tables,
    manifest: Manifest,
    *,
    replace: bool = False,
    evidence: Mapping[str, pl.DataFrame] | None = None,
    attached: Sequence[Path] = (),
) -> Path:
    """Writes a run folder under a temporary name and renames it.

    `evidence` goes below it, table by table; files that are `attached` are copied into it.

    Raises:
        RecordingError: the folder exists and `replace` is false, it exists and is not a run, or it cannot be written.
    """
    path = Path(path)
    refuse_existing(path, replace=replace)
    part = path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}.part"
    try:
        part.mkdir(parents=True)
        _write_tables(part, tables, manifest, evidence or {})
        for file in attached:
            shutil.copyfile(file, part / file.name)
        if path.exists():
            old = part.with_suffix(".old")
            path.rename(old)
            part.rename(path)
            shutil.rmtree(old)
        else:
            part.rename(path)
    except OSError as error:
        raise RecordingError(f"{path}: cannot be written, {error.strerror or error}; choose another place") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return path


def _write_tables(folder: Path, tables: Tables, manifest: Manifest, evidence: Mapping[str, pl.DataFrame]) -> None:
    digests: dict[str, str] = {}
    if evidence:
        (folder / EVIDENCE).mkdir()
    own = {name: getattr(tables, name) for name in (*TABLES, *OPTIONAL_TABLES)}
    named = {name: table for name, table in own.items() if table is not None}
    for name, frame in (named | {f"{EVIDENCE}/{each}": table for each, table in evidence.items()}).items():
        file = folder / f"{name}.parquet"
        frame.write_parquet(file, compression="zstd", compression_level=6)
        digests[name] = _digest(file)
    text = manifest.model_copy(update={"files": digests}).model_dump_json(indent=1)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def refuse_existing(path: str | Path, *, replace: bool = False) -> None:
    """Checks, before any long work, that a run may be written to `path`.

    Raises:
        RecordingError: something is there already that must not be overwritten.
    """
    path = Path(path)
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise RecordingError(f"{path}: cannot be written, {above} is not a folder to write in; choose another place")
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
    except OSError as error:
        raise RecordingError(f"{path / MANIFEST}: cannot be read, {error.strerror}; mend its permissions") from None


def read_run(path: str | Path) -> Run:
    """Reads a run folder and checks it against the record contract.

    Raises:
        RecordingError: not a run folder, or a table is missing, cut off or of other columns.
    """
    path = Path(path)
    manifest = read_manifest(path)
    try:
        hops = manifest.hops()
    except ScenarioError as error:
        raise RecordingError(f"{path}/{error}") from None
    schemas = {"frames": frame_schema(hops), "events": EVENT_COLUMNS, "metrics": METRIC_COLUMNS}
    schemas |= {name: columns for name, columns in OPTIONAL_TABLES.items() if name in manifest.files}
    tables = Tables(
        **{name: _read_table(path / f"{name}.parquet", schemas[name], manifest.files.get(name)) for name in schemas}
    )
    carried = int(tables.frames["events"].sum())
    if carried != tables.events.height:
        raise RecordingError(
            f"{path}: events.parquet must hold {carried} events, got {tables.events.height}; record the run again"
        )
    if not _in_order(tables):
        raise RecordingError(f"{path}: events.parquet must follow the order of the frames' rows; record the run again")
    return Run(path=path, manifest=manifest, tables=tables)


def _in_order(tables: Tables) -> bool:
    """Tells whether the events follow the frames' rows; a block at a time, for a long run has tens of millions."""
    first = 0
    for block in tables.frames.select("frame", "events").iter_slices(ORDER_FRAMES):
        order = np.repeat(block["frame"].to_numpy(), block["events"].to_numpy())
        if not np.array_equal(order, tables.events["frame"].slice(first, len(order)).to_numpy()):
            return False
        first += len(order)
    return True


def read_evidence(path: str | Path, manifest: Manifest) -> dict[str, pl.DataFrame]:
    """Reads the tables of evidence that a run's manifest names; none is an empty dictionary.

    Raises:
        RecordingError: one of them is missing or damaged.
    """
    names = [name for name in manifest.files if name.startswith(f"{EVIDENCE}/")]
    return {
        name.removeprefix(f"{EVIDENCE}/"): _read_whole(Path(path) / f"{name}.parquet", manifest.files[name])
        for name in names
    }


def _read_table(file: Path, schema: dict[str, object], digest: str | None) -> pl.DataFrame:
    table = _read_whole(file, digest)
    if dict(table.schema) != schema:
        wrong = [name for name in {*schema, *table.columns} if table.schema.get(name) != schema.get(name)]
        raise RecordingError(
            f"{file}: columns must follow the record contract, got a difference in {', '.join(sorted(wrong))}; record the run again"
        )
    return table


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _read_whole(file: Path, digest: str | None) -> pl.DataFrame:
    if not file.is_file():
        raise RecordingError(f"{file}: missing; the recording was cut off, record the run again")
    # Polars may abort the whole process on bytes changed in the middle, so they are compared before it sees them.
    if digest is not None and _digest(file) != digest:
        raise _damaged(file)
    try:
        return pl.read_parquet(file)
    except (pl.exceptions.PolarsError, OSError):
        raise _damaged(file) from None


def _damaged(file: Path) -> RecordingError:
    size = file.stat().st_size
    return RecordingError(f"{file}: must be a whole Parquet file, got {size} damaged bytes; record the run again")

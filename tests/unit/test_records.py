"""A run folder is written whole or not at all, and read whole or refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from sentra_sim.errors import InputError, RecordingError
from sentra_sim.records import (
    EVENT_COLUMNS,
    METRIC_COLUMNS,
    PAUSE_COLUMNS,
    Run,
    Tables,
    describe_machine,
    frame_schema,
    is_run,
    read_manifest,
    read_run,
    refuse_existing,
    versions,
    write_run,
)
from tests.unit.handmade import small_run

TABLES = ("frames", "events", "metrics")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    run = small_run(tmp_path / "run", [4.0, 5.0, None, 6.0])
    return write_run(tmp_path / "run", run.tables, run.manifest)


def refusal(path: Path, read: Callable[[Path], object] = read_run) -> str:
    with pytest.raises(RecordingError) as caught:
        read(path)
    text = str(caught.value)
    assert "\n" not in text
    return text


def edit(path: Path, change: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    """Rewrites a table and lets the manifest believe that it was recorded so."""
    change(pl.read_parquet(path)).write_parquet(path)
    manifest = path.parent / "manifest.json"
    data = json.loads(manifest.read_text(encoding="utf-8"))
    del data["files"][path.stem]
    manifest.write_text(json.dumps(data), encoding="utf-8")


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    run = small_run(tmp_path / "run", [4.0, 5.0, None, 6.0], cpu_cores=0.1)
    assert write_run(run.path, run.tables, run.manifest) == run.path
    back = read_run(run.path)
    for name in TABLES:
        assert_frame_equal(getattr(back.tables, name), getattr(run.tables, name))
    assert back.manifest.model_copy(update={"files": {}}) == run.manifest
    assert set(back.manifest.files) == set(TABLES)
    assert back.name == "run"
    assert is_run(run.path)


def test_tables_have_the_columns_of_the_contract(folder: Path) -> None:
    run = read_run(folder)
    assert dict(run.tables.frames.schema) == frame_schema(("made", "closed", "acked", "started", "stored"))
    assert dict(run.tables.events.schema) == EVENT_COLUMNS
    assert dict(run.tables.metrics.schema) == METRIC_COLUMNS


def test_a_hop_that_a_frame_never_reached_is_missing_not_zero(folder: Path) -> None:
    frames = read_run(folder).tables.frames
    assert frames["stored_ns"].null_count() == 1
    assert frames.filter(pl.col("outcome") == "lost")["stored_ns"].to_list() == [None]


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.99])
def test_a_recording_cut_off_in_the_middle_is_refused(folder: Path, name: str, kept: float) -> None:
    file = folder / f"{name}.parquet"
    content = file.read_bytes()[: int(file.stat().st_size * kept)]
    file.write_bytes(content)
    assert refusal(folder) == (
        f"{file}: must be a whole Parquet file, got {len(content)} damaged bytes; record the run again"
    )


def test_a_byte_changed_in_the_middle_is_found(folder: Path) -> None:
    file = folder / "frames.parquet"
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 0xFF
    file.write_bytes(content)
    assert "must be a whole Parquet file" in refusal(folder)


def test_a_recording_without_checksums_is_refused_when_it_cannot_be_parsed(folder: Path) -> None:
    file = folder / "frames.parquet"
    edit(file, lambda table: table)
    file.write_bytes(file.read_bytes()[:100])
    assert refusal(folder) == f"{file}: must be a whole Parquet file, got 100 damaged bytes; record the run again"


@pytest.mark.parametrize("name", TABLES)
def test_a_missing_table_is_named(folder: Path, name: str) -> None:
    (folder / f"{name}.parquet").unlink()
    assert refusal(folder) == (f"{folder / name}.parquet: missing; the recording was cut off, record the run again")


def test_missing_events_are_counted(folder: Path) -> None:
    edit(folder / "events.parquet", lambda events: events.head(3))
    assert refusal(folder) == f"{folder}: events.parquet must hold 4 events, got 3; record the run again"


def test_events_in_another_order_than_their_frames_are_refused(folder: Path) -> None:
    edit(folder / "events.parquet", lambda events: events.reverse())
    assert refusal(folder) == (
        f"{folder}: events.parquet must follow the order of the frames' rows; record the run again"
    )


def test_a_table_of_other_columns_is_refused(folder: Path) -> None:
    edit(
        folder / "frames.parquet", lambda frames: frames.drop("stored_ns").with_columns(pl.col("events").cast(pl.Int64))
    )
    assert refusal(folder) == (
        f"{folder / 'frames.parquet'}: columns must follow the record contract, got a difference in events, stored_ns; "
        "record the run again"
    )


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    remedy = "name a folder written by sentra measure or sentra simulate"
    (tmp_path / "file").write_text("x", encoding="utf-8")
    (tmp_path / "photos").mkdir()
    assert refusal(tmp_path / "none") == f"{tmp_path / 'none'}: must be a run folder, got nothing; {remedy}"
    assert refusal(tmp_path / "file") == f"{tmp_path / 'file'}: must be a run folder, got a file; {remedy}"
    assert refusal(tmp_path / "photos") == (
        f"{tmp_path / 'photos'}: must be a run folder, got one without manifest.json; {remedy}"
    )
    assert not is_run(tmp_path / "photos")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: "", "file: Invalid JSON"),
        (lambda text: text[: len(text) // 2], "file: Invalid JSON"),
        (lambda text: "[]", "file: Input should be an object"),
        (
            lambda text: text.replace('"contract_version": 1', '"contract_version": 2'),
            "contract_version: Input should be 1",
        ),
        (lambda text: text.replace('"seed"', '"sead"'), "seed: Field required"),
    ],
)
def test_a_damaged_manifest_is_refused(folder: Path, change: Callable[[str], str], reason: str) -> None:
    file = folder / "manifest.json"
    file.write_text(change(file.read_text(encoding="utf-8")), encoding="utf-8")
    assert refusal(folder, read_manifest).startswith(f"{file}: {reason}")


def test_a_manifest_with_a_scenario_that_is_none_is_refused_with_its_place(folder: Path) -> None:
    file = folder / "manifest.json"
    file.write_text(file.read_text(encoding="utf-8").replace('"closed"', '"Closed"'), encoding="utf-8")
    assert refusal(folder).startswith(f"{file}: scenario: stations.batcher.hops.1: must be lower-case letters")


def test_an_existing_run_is_not_overwritten(folder: Path, run: Run) -> None:
    before = (folder / "manifest.json").read_bytes()
    with pytest.raises(RecordingError) as caught:
        write_run(folder, run.tables, run.manifest)
    assert str(caught.value) == f"{folder}: must not exist yet, got a folder; choose another name or add --replace"
    assert (folder / "manifest.json").read_bytes() == before


def test_replace_overwrites_a_run_and_nothing_else(folder: Path, run: Run, tmp_path: Path) -> None:
    write_run(folder, run.tables, run.manifest, replace=True)
    assert read_run(folder).tables.frames.height == 2
    (tmp_path / "photos").mkdir()
    with pytest.raises(RecordingError) as caught:
        write_run(tmp_path / "photos", run.tables, run.manifest, replace=True)
    assert str(caught.value) == (
        f"{tmp_path / 'photos'}: --replace overwrites run folders only, got something without manifest.json; "
        "choose another name"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos", "run"]


def test_a_place_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(RecordingError) as caught:
        refuse_existing(tmp_path / "file" / "run")
    assert str(caught.value) == (
        f"{tmp_path / 'file' / 'run'}: cannot be written, {tmp_path / 'file'} is not a folder to write in; choose another place"
    )
    refuse_existing(tmp_path / "new" / "deep" / "run")


def test_a_write_that_fails_leaves_the_old_run_and_nothing_else(folder: Path, run: Run, tmp_path: Path) -> None:
    unwritable = run.tables.metrics.with_columns(pl.lit(object(), dtype=pl.Object).alias("value"))
    before = read_run(folder).manifest
    for path in (folder, tmp_path / "new"):
        with pytest.raises(Exception, match=r"(?i)object"):
            write_run(path, Tables(run.tables.frames, run.tables.events, unwritable), run.manifest, replace=True)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert read_run(folder).manifest == before


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pl.DataFrame, "write_parquet", full)
    with pytest.raises(RecordingError) as caught:
        write_run(tmp_path / "new", run.tables, run.manifest)
    assert str(caught.value) == f"{tmp_path / 'new'}: cannot be written, No space left on device; choose another place"
    assert list(tmp_path.iterdir()) == []


def test_refusals_end_the_command_line_with_exit_code_2() -> None:
    assert issubclass(RecordingError, InputError)


def test_a_run_says_where_and_with_what_it_was_made() -> None:
    machine = describe_machine()
    assert set(machine) == {"processor", "cores", "memory_gib", "kernel"}
    assert int(machine["cores"]) >= 1
    assert float(machine["memory_gib"]) > 0
    assert {"python", "sentra-lab", "numpy", "polars"} <= set(versions())


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return small_run(tmp_path / "other", [1.0, 2.0])


def test_a_run_keeps_the_tables_for_a_twin_and_attached_files_and_is_read_without_them_too(tmp_path: Path) -> None:
    plain = small_run(tmp_path / "plain", [4.0, 5.0])
    assert (plain.tables.jobs, plain.tables.pauses, plain.tables.details) == (None, None, None)
    rows = [("kafka-1", "safepoint", 5, 9)]
    pauses = pl.DataFrame(rows, schema=PAUSE_COLUMNS, orient="row")
    note = tmp_path / "spans.jsonl.gz"
    note.write_bytes(b"kept")
    folder = write_run(tmp_path / "full", replace(plain.tables, pauses=pauses), plain.manifest, attached=[note])
    assert read_run(folder).tables.pauses is not None
    assert read_run(folder).tables.pauses.rows() == rows
    assert (folder / "spans.jsonl.gz").read_bytes() == b"kept"
    (folder / "pauses.parquet").unlink()
    with pytest.raises(RecordingError, match=r"pauses\.parquet: missing"):
        read_run(folder)

"""What a run is: the record contract, the run folder, the manifest."""

from sentra_sim.records.folder import Run, is_run, read_evidence, read_manifest, read_run, refuse_existing, write_run
from sentra_sim.records.machine import describe_machine, versions
from sentra_sim.records.manifest import Manifest, Validity
from sentra_sim.records.series import CpuSeries, metrics_table
from sentra_sim.records.tables import (
    DETAIL_COLUMNS,
    EVENT_COLUMNS,
    IDLE_CORES,
    JOB_COLUMNS,
    METRIC_COLUMNS,
    OPEN_FDS,
    OUTCOMES,
    PAUSE_COLUMNS,
    PRIVATE_MEMORY,
    RESIDENT_MEMORY,
    Tables,
    frame_schema,
    hop_column,
)

__all__ = [
    "DETAIL_COLUMNS",
    "EVENT_COLUMNS",
    "IDLE_CORES",
    "JOB_COLUMNS",
    "METRIC_COLUMNS",
    "OPEN_FDS",
    "OUTCOMES",
    "PAUSE_COLUMNS",
    "PRIVATE_MEMORY",
    "RESIDENT_MEMORY",
    "CpuSeries",
    "Manifest",
    "Run",
    "Tables",
    "Validity",
    "describe_machine",
    "frame_schema",
    "hop_column",
    "is_run",
    "metrics_table",
    "read_evidence",
    "read_manifest",
    "read_run",
    "refuse_existing",
    "versions",
    "write_run",
]

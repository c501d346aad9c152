"""The evidence of a run: compact tables in its folder, from which `judge` gives its verdict long after the log is gone."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import polars as pl

from sentra_sim.errors import RecordingError
from sentra_sim.records import read_evidence, read_manifest

ACKED, ONCE, VERSION, SENT = "acked-in-effect", "effect-once", "version-steps", "only-sent"
OUTBOX, REDIS, CLICKHOUSE = "outbox-is-effects", "redis-equals-postgres", "clickhouse-equals-postgres"
UNKNOWN, DEAD, ONLINE = "unknown-not-failed", "dead-letters-kept", "online-audit"
# Every invariant and what it asks for, in the order in which they are told.
INVARIANTS = {
    ACKED: "every acknowledged event is in effect",
    ONCE: "as many effects as distinct ids",
    VERSION: "a key's version rises by one with each of its events",
    SENT: "no effect of an id that was never sent",
    OUTBOX: "what is delivered is what is in effect",
    REDIS: "Redis equals PostgreSQL",
    CLICKHOUSE: "ClickHouse equals PostgreSQL",
    UNKNOWN: "an answer that never came is unknown, not failed: what was refused has no effect",
    DEAD: "every bad record is a dead letter, and published",
    ONLINE: "the checker beside the run saw no offence",
}

# One row per key; `expected_...`: what the log up to PostgreSQL's progress comes to. Null: not there.
KEYS = {
    "key": pl.Int64,
    "partition": pl.Int32,
    "expected_version": pl.Int64,
    "expected_quantity": pl.Float64,
    "postgres_version": pl.Int64,
    "postgres_quantity": pl.Float64,
    "redis_version": pl.Int64,
    "redis_quantity": pl.Float64,
    "clickhouse_version": pl.Int64,
    "clickhouse_quantity": pl.Float64,
}
# One row per frame of the log; `rows` must take effect, of those that PostgreSQL's progress has passed.
FRAMES = {
    "partition": pl.Int32,
    "frame": pl.Int64,
    "first_offset": pl.Int64,
    "last_offset": pl.Int64,
    "events": pl.Int64,
    "repeated": pl.Int64,
    "dead": pl.Int64,
    "rows": pl.Int64,
    "clickhouse_rows": pl.Int64,
    "sent_rows": pl.Int64,
    "delivered_rows": pl.Int64,
}
# One row per partition: what there was of its log, PostgreSQL's progress, and dead letters that are missing or too many.
PARTITIONS = {
    "partition": pl.Int32,
    "log_first": pl.Int64,
    "log_end": pl.Int64,
    "whole": pl.Boolean,
    "first_offset": pl.Int64,
    "next_offset": pl.Int64,
    "repeated": pl.Int64,
    "dead": pl.Int64,
    "log_repeated": pl.Int64,
    "log_dead": pl.Int64,
    "letters_missing": pl.Int64,
    "letters_foreign": pl.Int64,
    "letters_unpublished": pl.Int64,
}
# Ranges of ids by state: acked, refused, unknown as the generator knows; `effect` and `dead` as the log says.
IDS = {"session": pl.Int64, "state": pl.String, "first": pl.UInt64, "last": pl.UInt64}
# Ids that break an invariant, as far as they can be named. Null: not known, or the log never held it.
OFFENDERS = {
    "invariant": pl.String,
    "session": pl.Int64,
    "sequence": pl.UInt64,
    "key": pl.Int64,
    "partition": pl.Int32,
    "offset": pl.Int64,
    "frame": pl.Int64,
    "what": pl.String,
}
# Counts: sent, acked, distinct, lost, pending...; acked_known, drained, whole, audit, audited as 0 or 1; what the checker beside
# the run counted, `audit.<name>`; and `offenders.<invariant>`, those left out of the list included.
FACTS = {"name": pl.String, "value": pl.Int64}


@dataclass(frozen=True)
class Evidence:
    """The tables; see the column dictionaries of this module."""

    keys: pl.DataFrame
    frames: pl.DataFrame
    partitions: pl.DataFrame
    ids: pl.DataFrame
    offenders: pl.DataFrame
    facts: pl.DataFrame

    def tables(self) -> dict[str, pl.DataFrame]:
        """Returns the tables by name, as `write_run` takes them."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def fact(self, name: str, default: int = 0) -> int:
        """Returns a count."""
        found = self.facts.filter(pl.col("name") == name)["value"]
        return int(found[0]) if len(found) else default


SCHEMAS: dict[str, dict[str, Any]] = {
    "keys": KEYS,
    "frames": FRAMES,
    "partitions": PARTITIONS,
    "ids": IDS,
    "offenders": OFFENDERS,
    "facts": FACTS,
}


def load_evidence(run: str | Path) -> Evidence:
    """Reads the evidence of a run folder.

    Raises:
        RecordingError: not a run folder, a simulated run, or one without evidence, or with damaged evidence.
    """
    path = Path(run)
    manifest = read_manifest(path)
    if manifest.source == "simulated":
        raise RecordingError(f"{path}: must be a measured run, got a simulated one; there is nothing to lose in it")
    tables = read_evidence(path, manifest)
    missing = [name for name in SCHEMAS if name not in tables]
    if missing:
        got = f"no {', '.join(missing)}" if tables else "none"
        raise RecordingError(f"{path}: must hold evidence, got {got}; measure again without --no-evidence")
    for name, schema in SCHEMAS.items():
        if dict(tables[name].schema) != schema:
            raise RecordingError(f"{path}: evidence/{name}.parquet must have its columns, got others; measure again")
    return Evidence(**{name: tables[name] for name in SCHEMAS})

"""The ClickHouse engine inside this process: one table, inserted into by whole blocks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

TABLE = "fills"
_COLUMNS = (
    ("partition", "Int32", "<i4"),
    ("next_offset", "Int64", "<i8"),
    ("frame", "Int64", "<i8"),
    ("key", "UInt32", "<u4"),
    ("tenant", "UInt32", "<u4"),
    ("quantity", "Float64", "<f8"),
    ("price", "Float64", "<f8"),
)
FILL = np.dtype([("key", "<u4"), ("tenant", "<u4"), ("quantity", "<f8"), ("price", "<f8")])
"""One row of a frame's payload."""
ROW = np.dtype([(name, code) for name, _, code in _COLUMNS])
"""One row of the table."""

# The pipeline's cores are not the merges': one merging thread, and parts beyond 256 MB stay as they are. Old parts are removed by the
# thread that finds them: a hundred or more are else removed, when a run empties the table, by 128 threads that stay for good, each
# of which opens three descriptors when it first serves a query.
_SETTINGS = "&".join(
    (
        "max_threads=1",
        "max_insert_threads=1",
        "background_pool_size=1",
        "background_merges_mutations_concurrency_ratio=1",
        "background_schedule_pool_size=2",
    )
)
_CREATE = f"""
CREATE TABLE IF NOT EXISTS {TABLE} ({", ".join(f"{name} {kind}" for name, kind, _ in _COLUMNS)})
ENGINE = MergeTree ORDER BY (tenant, key)
SETTINGS max_bytes_to_merge_at_max_space_in_pool = 268435456, number_of_free_entries_in_pool_to_lower_max_size_of_merge = 0,
number_of_free_entries_in_pool_to_execute_mutation = 0, number_of_free_entries_in_pool_to_execute_optimize_entire_partition = 0,
concurrent_part_removal_threshold = 1000000
"""


class Engine:
    """The table, opened for writing; one per path and process.

    Example:
        >>> engine = Engine(Path("/tmp/example"))  # doctest: +SKIP
        >>> engine.rows("SELECT count() FROM fills")  # doctest: +SKIP
        [[0]]
    """

    def __init__(self, path: Path) -> None:
        import chdb

        self._connection: Any = chdb.connect(f"{path}?{_SETTINGS}")  # type: ignore[no-untyped-call]
        self._connection.query(_CREATE)

    def insert(self, rows: NDArray[np.void]) -> None:
        """Writes rows, shape (n,) of dtype ROW, as one INSERT; they are visible when this returns.

        Raises:
            RuntimeError: the engine refused them; none is stored.
        """
        stream = self._connection.send_insert(f"INSERT INTO {TABLE}", "Native")
        try:
            stream.append(native_block(rows))
            stream.finish()
        finally:
            stream.close()

    def last_offsets(self) -> dict[int, int]:
        """Returns the highest stored next_offset by partition."""
        found = self.rows(f"SELECT partition, max(next_offset) FROM {TABLE} GROUP BY partition")
        return {int(partition): int(offset) for partition, offset in found}

    def rows(self, query: str) -> list[list[Any]]:
        """Runs a query and returns its rows.

        Raises:
            RuntimeError: the engine refused it.
        """
        answer = self._connection.query(query, "JSONCompact").data()
        return list(json.loads(answer)["data"]) if answer else []

    def truncate(self) -> None:
        """Removes all rows."""
        self._connection.query(f"TRUNCATE TABLE {TABLE}")

    def close(self) -> None:
        """Closes the table."""
        self._connection.close()


def native_block(rows: NDArray[np.void]) -> bytes:
    """Returns rows of dtype ROW in ClickHouse's Native format: column by column, so that the engine need not parse."""
    parts = [_varint(len(_COLUMNS)), _varint(len(rows))]
    for name, kind, _ in _COLUMNS:
        parts += [_text(name), _text(kind), np.ascontiguousarray(rows[name]).tobytes()]
    return b"".join(parts)


def _text(value: str) -> bytes:
    return _varint(len(value)) + value.encode()


def _varint(value: int) -> bytes:
    """Returns an unsigned LEB128 number."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)

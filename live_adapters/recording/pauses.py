"""The table `pauses`: when whole processes stood still, from Python's collectors and the brokers' own logs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from live_adapters.pipeline.hoplog import PAUSES, read_log
from sentra_sim.records import PAUSE_COLUMNS

MS_TO_NS = 1_000_000
BROKER_LOGS = "kafka-*.gc.log*"
# Java's unified logging, decorations `timenanos,tags`; a line is written at the pause's end.
_PAUSE = re.compile(r"\[(\d+)ns\]\[gc\s*\] GC\(\d+\) Pause .* ([\d.]+)ms$")
_SAFEPOINT = re.compile(r'\[(\d+)ns\]\[safepoint\s*\] Safepoint "\w+", .*Total: +(\d+) ns')

Pause = tuple[str, str, int, int]  # process, kind, start and end, monotonic ns


def pauses_table(scratch: Path, broker_logs: Path | None, epoch_ns: int, end_ns: int) -> pl.DataFrame:
    """Returns the pauses that lie in [epoch_ns, end_ns), in part at least, in order of their start."""
    found = list(python_pauses(scratch))
    for file in sorted(broker_logs.glob(BROKER_LOGS)) if broker_logs else ():
        process = file.name.partition(".")[0]
        found += jvm_pauses(process, file.read_text(encoding="utf-8", errors="replace"))
    inside = [pause for pause in found if pause[3] >= epoch_ns and pause[2] < end_ns]
    rows = [(process, kind, start - epoch_ns, end - epoch_ns) for process, kind, start, end in inside]
    return pl.DataFrame(rows, schema=PAUSE_COLUMNS, orient="row").sort("start_ns", maintain_order=True)


def python_pauses(scratch: Path) -> Iterator[Pause]:
    """Yields the collections of every process of the run."""
    for file in sorted(scratch.glob("*.gc.bin")):
        process = file.name.removesuffix(".gc.bin")
        for start, end, _ in read_log(scratch, process, "gc", PAUSES).tolist():
            yield process, "gc", start, end


def jvm_pauses(process: str, log: str) -> Iterator[Pause]:
    """Yields the pauses that a broker's log tells of: collections, and every stop at a safepoint."""
    for line in log.splitlines():
        if collected := _PAUSE.match(line):
            end = int(collected[1])
            yield process, "jvm-gc", end - round(float(collected[2]) * MS_TO_NS), end
        elif stopped := _SAFEPOINT.match(line):
            end = int(stopped[1])
            yield process, "safepoint", end - int(stopped[2]), end

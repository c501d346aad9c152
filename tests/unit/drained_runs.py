"""A small drained run as the checker sees it: two partitions' logs and what the stores hold; each part can be bent."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from live_adapters.pipeline.consumer.poll import EVENT
from live_adapters.verify.acked import ACKED, Answers
from live_adapters.verify.evidence import Evidence
from live_adapters.verify.examine import Examiner
from live_adapters.verify.held import BY_FRAME, PLACES, PROGRESS, VERSIONS, Held
from live_adapters.verify.replay import PartitionLog

EVENTS, KEYS, FRAME_EVENTS, PARTITIONS = 80, 6, 10, 2


def events_of(partition: int) -> NDArray[np.void]:
    """Sequences 1 to 80, odd ones in partition 1; keys 0 to 5, odd ones there too."""
    sequence = np.arange(2 - partition, EVENTS + 1, 2)
    events = np.zeros(len(sequence), dtype=EVENT)
    events["session"], events["sequence"] = 1, sequence
    # Neither a period nor a pattern, so that a run of neighbours is the only one of its keys.
    events["key"] = partition + 2 * np.random.default_rng(partition).integers(0, KEYS // 2, len(sequence))
    events["quantity"], events["limit_price"] = 0.1 * sequence, 100.0
    events["frame"] = (partition << 40) + 1 + np.arange(len(sequence)) // FRAME_EVENTS
    return events


def log_of(partition: int, events: NDArray[np.void], *, first: int = 0, unreadable: int = 0) -> PartitionLog:
    count = len(events)
    offsets = np.arange(first, first + count, dtype=np.int64)
    bad = np.arange(first + count, first + count + unreadable, dtype=np.int64)
    return PartitionLog(partition, first, first + count + unreadable, True, events, offsets, bad)


def all_acked(sent: int = EVENTS) -> Answers:
    states = np.full(sent + 1, ACKED, dtype=np.uint8)
    states[0] = 0
    return Answers(states, sent, True)


def held_of(logs: list[PartitionLog]) -> Held:
    """What sound stores hold of logs without repetitions."""
    events = np.concatenate([log.events for log in logs])
    keys = sorted(set(events["key"].tolist()))
    rows = [(k, int((events["key"] == k).sum()), float(events["quantity"][events["key"] == k].sum())) for k in keys]
    table = pl.DataFrame(rows, schema=VERSIONS, orient="row")
    frames = [
        (log.partition, int(f), int((log.events["frame"] == f).sum()))
        for log in logs
        for f in np.unique(log.events["frame"])
    ]
    fills = pl.DataFrame(frames, schema=BY_FRAME, orient="row")
    progress = [(log.partition, 0, log.end_offset, 0, 0) for log in logs]
    return Held(
        progress=pl.DataFrame(progress, schema=PROGRESS, orient="row"),
        postgres=table.with_columns(partition=(pl.col("key") % PARTITIONS).cast(pl.Int32)),
        redis=table,
        clickhouse=table,
        fills=fills,
        letters=pl.DataFrame(schema=PLACES),
        published=pl.DataFrame(schema=PLACES),
        sent=fills.select("frame", "rows"),
        delivered=fills.select("frame", "rows"),
    )


@dataclass
class DrainedRun:
    """A sound run, to be bent in one place."""

    logs: list[PartitionLog] = field(default_factory=lambda: [log_of(p, events_of(p)) for p in range(PARTITIONS)])
    answers: Answers = field(default_factory=all_acked)
    drained: bool = True

    def __post_init__(self) -> None:
        self.held = held_of(self.logs)

    def relog(self, partition: int, events: NDArray[np.void], **settings: int) -> None:
        """Gives a partition another log than the stores were filled from; progress covers it."""
        self.logs[partition] = log_of(partition, events, **settings)
        ends = [(log.partition, 0, log.end_offset, 0, 0) for log in self.logs]
        self.held = replace(self.held, progress=pl.DataFrame(ends, schema=PROGRESS, orient="row"))

    def bend(self, table: str, key: int, versions: int, quantity: float = 0.0, *, by: str = "key") -> None:
        """Adds to what a store holds of a key, or of a frame."""
        held: pl.DataFrame = getattr(self.held, table)
        here, column = pl.col(by) == key, "version" if by == "key" else "rows"
        changed = held.with_columns(
            pl.when(here).then(pl.col(column) + versions).otherwise(pl.col(column)).alias(column)
        )
        if by == "key":
            more = pl.when(here).then(pl.col("quantity") + quantity).otherwise(pl.col("quantity"))
            changed = changed.with_columns(more.alias("quantity"))
        self.held = replace(self.held, **{table: changed})

    def apply_again(self, events: NDArray[np.void], times: int = 1) -> None:
        """Has every store of keys take events once more; or, with -1, lack them."""
        for event in events:
            for table in ("postgres", "redis", "clickhouse"):
                self.bend(table, int(event["key"]), times, times * float(event["quantity"]))

    def evidence(self) -> Evidence:
        examiner = Examiner(self.held, self.answers, drained=self.drained)
        for log in self.logs:
            examiner.take(log)
        return examiner.evidence()

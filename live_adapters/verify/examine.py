"""Log against stores: each partition is played again, what it comes to is compared with what is held, offending ids are named."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from live_adapters.verify import evidence as names
from live_adapters.verify.acked import ACKED, REFUSED, SESSION, STATES, Answers, ranges
from live_adapters.verify.evidence import FRAMES, IDS, KEYS, PARTITIONS, Evidence
from live_adapters.verify.held import Held
from live_adapters.verify.offenders import CAP, Offenders, blame_versions
from live_adapters.verify.replay import PartitionLog, Replay, per_frame, per_key, replay

EXPECTED = {"key": pl.Int64, "expected_version": pl.Int64, "expected_quantity": pl.Float64}
ROUNDING = 1e-9  # of a key's sum of quantities: sums of another order differ in their last bits


def differs(one: str, other: str) -> pl.Expr:
    """Tells where two stores' versions or quantities of a key differ; a key that one of them lacks differs."""
    version = pl.col(f"{one}_version").ne_missing(pl.col(f"{other}_version"))
    sums = pl.col(f"{one}_quantity"), pl.col(f"{other}_quantity")
    apart = (sums[0] - sums[1]).abs() > ROUNDING * pl.max_horizontal(sums[0].abs(), sums[1].abs(), pl.lit(1.0))
    return version | apart.fill_null(False)


class Examiner:
    """Takes the partitions' logs one after another; memory holds one of them, and a few bytes an id."""

    def __init__(self, held: Held, answers: Answers, *, drained: bool) -> None:
        self._held, self._answers, self._drained = held, answers, drained
        self._offenders = Offenders()
        count = answers.sent + 1
        self._effect, self._dead, self._pending = (np.zeros(count, dtype=np.bool_) for _ in range(3))
        self._keys: list[pl.DataFrame] = []
        self._frames: list[pl.DataFrame] = []
        self._partitions: list[tuple[int | bool, ...]] = []
        self._behind: list[NDArray[np.uint64]] = []  # sequences refused without ever having been in effect
        self._foreign = 0
        self._audit: dict[str, int] = {}
        self._audited = pl.DataFrame(schema=EXPECTED)

    def audited(self, counters: dict[str, int], keys: NDArray[np.void]) -> None:
        """Takes what the checker beside the run saw: it has read what may be gone from the log by now."""
        self._audit = counters
        columns = [keys["key"], keys["version"], keys["quantity"]]
        self._audited = pl.DataFrame(columns, schema=EXPECTED)

    def take(self, log: PartitionLog) -> None:
        """Looks at a partition."""
        row = self._held.progress.filter(pl.col("partition") == log.partition)
        start, following, repeated, dead = row.select(pl.exclude("partition")).row(0) if len(row) else (0, 0, 0, 0)
        whole = log.whole and log.first_offset <= start
        played = replay(log, following)
        letters = self._letters(played, whole=whole)
        counted = (int(played.refused.sum()), len(played.dead_offsets))
        state = (log.partition, log.first_offset, log.end_offset, whole, start, following, repeated, dead)
        self._partitions.append((*state, *counted, *letters))
        if not whole:
            return
        self._note_ids(played, following)
        expected = pl.DataFrame(list(per_key(played)), schema=EXPECTED)
        self._keys.append(expected)
        self._compare_versions(played, expected)
        self._compare_frames(played)

    def evidence(self) -> Evidence:
        """Returns the tables, once every partition was looked at."""
        partitions = pl.DataFrame(self._partitions, schema=PARTITIONS, orient="row")
        whole = bool(partitions["whole"].all())
        if whole:
            self._find_lost()
        keys = self._key_table(whole=whole)
        frames = pl.concat([pl.DataFrame(schema=FRAMES), *self._frames])
        facts = {
            "sent": self._answers.sent,
            "acked": self._answers.acked,
            "acked_known": int(self._answers.which),
            "drained": int(self._drained),
            "whole": int(whole),
            "audit": int(bool(self._audit)),
            "audited": int(self._followed),
            "distinct": int(self._effect.sum()) + self._foreign,
            "in_effect": int(self._effect.sum()),
            "dead_ids": int(self._dead.sum()),
            "foreign": self._foreign,
            "lost": self._lost(),
            "strange_frames": self._held.delivered.join(frames, on="frame", how="anti").height if whole else 0,
            "pending": int((self._acked & self._pending & ~self._effect).sum()),
            "refused_in_effect": int(((self._answers.states == REFUSED) & self._effect).sum()),
        }
        if self._followed and not whole:  # the log's ids are gone, what the checker counted is not
            facts |= {"distinct": self._audit["taken"], "lost": self._lost_by_audit()}
        facts |= {f"audit.{name}": count for name, count in self._audit.items()}
        facts |= {f"offenders.{name}": count for name, count in self._offenders.counts.items()}
        return Evidence(
            keys=keys,
            frames=frames,
            partitions=partitions,
            ids=self._id_table(),
            offenders=self._offenders.table(),
            facts=pl.DataFrame({"name": list(facts), "value": list(facts.values())}, schema=names.FACTS),
        )

    @property
    def _acked(self) -> NDArray[np.bool_]:
        return np.asarray(self._answers.states == ACKED)

    @property
    def _followed(self) -> bool:
        """Whether the checker beside the run has seen every record."""
        return bool(self._audit) and not self._audit["unread"]

    def _lost_by_audit(self) -> int:
        return max(0, self._answers.acked - self._audit["taken"] - self._audit["dead"])

    def _lost(self) -> int:
        """Acknowledged ids that the log does not bring into effect; which ones is told apart."""
        kept = self._effect | self._dead | self._pending
        if self._answers.which:
            return int((self._acked & ~kept).sum())
        return max(0, self._answers.acked - int(kept.sum()))

    def _note_ids(self, played: Replay, following: int) -> None:
        events, log = played.log.events, played.log
        own = (events["session"] == SESSION) & (events["sequence"] <= np.uint64(self._answers.sent))
        strange = np.flatnonzero(~own & played.taken)
        self._foreign += len(strange)
        self._offenders.add(names.SENT, played, strange, "is in effect, but nobody sent it")
        for flags, mask in (
            (self._effect, played.taken),
            (self._dead, played.dead),
            (self._pending, log.offsets >= following),
        ):
            flags[events["sequence"][own & mask]] = True
        refused = np.flatnonzero(played.taken & own & (self._answers.of(events["sequence"]) == REFUSED))
        self._offenders.add(names.UNKNOWN, played, refused, "was refused, and is in effect")
        behind = np.flatnonzero(own & played.refused)
        behind = behind[~self._effect[events["sequence"][behind]]]
        behind = behind[self._answers.of(events["sequence"][behind]) == ACKED]
        self._behind.append(events["sequence"][behind])
        self._offenders.add(names.ACKED, played, behind, "acknowledged, but it came behind its session's mark")

    def _find_lost(self) -> None:
        if not self._answers.which:
            return
        lost = self._acked & ~(self._effect | self._dead | self._pending)
        if self._behind:
            lost[np.concatenate(self._behind)] = False  # named with their places already
        what = "acknowledged, but the log does not hold it"
        self._offenders.add_ids(names.ACKED, SESSION, np.flatnonzero(lost), what)

    def _letters(self, played: Replay, *, whole: bool) -> tuple[int, int, int]:
        """Counts dead letters that are missing, without reason, or unpublished."""
        held, published = (
            set(table.filter(pl.col("partition") == played.log.partition)["offset"].to_list())
            for table in (self._held.letters, self._held.published)
        )
        due = set(played.dead_offsets[played.dead_offsets < self._next(played)].tolist())
        missing, foreign = (sorted(due - held), sorted(held - due)) if whole else ([], [])
        unpublished = sorted(held - published)
        told = (
            (missing, "is no dead letter"),
            (foreign, "is a dead letter without a fault"),
            (unpublished, "is not published"),
        )
        for offsets, what in told:
            for offset in offsets:
                self._offenders.add_place(names.DEAD, played.log.partition, offset, what)
        return len(missing), len(foreign), len(unpublished)

    def _next(self, played: Replay) -> int:
        row = self._held.progress.filter(pl.col("partition") == played.log.partition)["next_offset"]
        return int(row[0]) if len(row) else 0

    def _compare_versions(self, played: Replay, expected: pl.DataFrame) -> None:
        mine = self._held.postgres.filter(pl.col("partition") == played.log.partition)
        here = mine.select("key", postgres_version="version", postgres_quantity="quantity")
        table = expected.join(here, on="key", how="full", coalesce=True)
        apart = pl.col("postgres_version").fill_null(0) - pl.col("expected_version").fill_null(0)
        for sign, again in ((1, True), (-1, False)):
            wrong = table.select("key", much=sign * apart).filter(pl.col("much") > 0)
            if wrong.height:
                blame_versions(self._offenders, played, dict(wrong.iter_rows()), again=again)
        sums = table.filter((apart == 0) & differs("postgres", "expected"))["key"].to_list()
        self._blame_last(names.VERSION, played, sums, "the last event of a key with another quantity than the log")
        truth = dict(mine.select("key", "version").iter_rows())
        redis = dict(self._held.redis.select("key", "version").iter_rows())
        stale = [key for key, version in truth.items() if redis.get(key) != version]
        self._blame_last(names.REDIS, played, stale, "the last event of a key that Redis has another state of")

    def _blame_last(self, invariant: str, played: Replay, keys: list[int], what: str) -> None:
        if not keys:
            return
        places = np.flatnonzero(played.taken & np.isin(played.log.events["key"], np.array(keys, dtype=np.uint32)))
        _, last = np.unique(played.log.events["key"][places][::-1], return_index=True)
        self._offenders.add(invariant, played, np.sort(places[len(places) - 1 - last]), what)

    def _compare_frames(self, played: Replay) -> None:
        found = pl.DataFrame(per_frame(played)).with_columns(partition=pl.lit(played.log.partition, dtype=pl.Int32))
        fills = self._held.fills.filter(pl.col("partition") == played.log.partition).select(
            "frame", clickhouse_rows="rows"
        )
        found = found.join(fills, on="frame", how="left")
        for column, table in (("sent_rows", self._held.sent), ("delivered_rows", self._held.delivered)):
            found = found.join(table.select("frame", pl.col("rows").alias(column)), on="frame", how="left")
        counted = ("clickhouse_rows", "sent_rows", "delivered_rows")
        found = found.with_columns(pl.col(*counted).fill_null(0)).select(FRAMES.keys()).cast(FRAMES)  # type: ignore[arg-type]
        self._frames.append(found)
        whose = ((names.OUTBOX, "delivered_rows", "subscribers"), (names.CLICKHOUSE, "clickhouse_rows", "ClickHouse"))
        for invariant, column, who in whose:
            wrong = found.filter(pl.col(column) != pl.col("rows")).select("frame", "rows", "repeated", column)
            for frame, rows, repeated, got in wrong.iter_rows():
                # A frame with as many too many as it has repetitions: those are to blame, else any of its events.
                blamed = played.refused if repeated and got - rows == repeated else played.taken
                if not self._room(invariant):
                    self._offenders.counts[invariant] += repeated if blamed is played.refused else rows
                    continue
                places = np.flatnonzero(blamed & (played.log.events["frame"] == frame))
                what = f"{who} got {got} events of its frame, in effect are {rows}"
                self._offenders.add(invariant, played, places, what)

    def _room(self, invariant: str) -> bool:
        return self._offenders.counts[invariant] < CAP

    def _key_table(self, *, whole: bool) -> pl.DataFrame:
        keys = pl.concat([pl.DataFrame(schema=EXPECTED), *self._keys]) if whole else self._audited
        for store in ("postgres", "redis", "clickhouse"):
            held: pl.DataFrame = getattr(self._held, store)
            other = held.select("key", pl.col("version", "quantity").name.prefix(f"{store}_"))
            keys = keys.join(other, on="key", how="full", coalesce=True)
        where = self._held.postgres.select("key", "partition")
        return keys.join(where, on="key", how="left").select(KEYS.keys()).cast(KEYS).sort("key")  # type: ignore[arg-type]

    def _id_table(self) -> pl.DataFrame:
        flags = {name: self._answers.states == state for state, name in STATES.items()}
        flags |= {"effect": self._effect, "dead": self._dead}
        rows = [(SESSION, name, first, last) for name, flagged in flags.items() for first, last in ranges(flagged)]
        return pl.DataFrame(rows, schema=IDS, orient="row")

"""The verdict on a run's evidence: each invariant is kept, broken (with the ids), or cannot be told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import polars as pl

from live_adapters.verify.evidence import INVARIANTS, Evidence
from live_adapters.verify.examine import differs

OK, FAULT, NODATA = "ok", "FAULT", "nodata"


@dataclass(frozen=True)
class Offence:
    """An id that breaks an invariant; None: not known."""

    session: int | None
    sequence: int | None
    key: int | None
    partition: int | None
    offset: int | None
    frame: int | None
    what: str

    @property
    def place(self) -> str:
        """The id and where it lies, in one phrase."""
        named = "" if self.sequence is None else f"{self.session}:{self.sequence}"
        parts = [
            f"{name} {value}" for name in ("key", "partition", "offset") if (value := getattr(self, name)) is not None
        ]
        where = ", ".join(parts)
        return f"{named} ({where})" if named and where else named or where


@dataclass(frozen=True)
class Finding:
    """What is to be said of one invariant; `ids` are those named, `more` counts the rest."""

    invariant: str
    verdict: str
    detail: str
    ids: tuple[Offence, ...] = field(default=())
    more: int = 0


def judge_evidence(evidence: Evidence) -> tuple[Finding, ...]:
    """Returns the findings, one per invariant, in the order of INVARIANTS."""
    return tuple(_finding(evidence, name, rule) for name, rule in RULES.items())


def _finding(evidence: Evidence, name: str, rule: Callable[[Evidence], tuple[str, str]]) -> Finding:
    verdict, detail = rule(evidence)
    if verdict != FAULT:
        return Finding(name, verdict, detail)
    rows = evidence.offenders.filter(pl.col("invariant") == name).drop("invariant")
    ids = tuple(Offence(**row) for row in rows.iter_rows(named=True))
    return Finding(name, verdict, detail, ids, max(0, evidence.fact(f"offenders.{name}") - len(ids)))


def _count(table: pl.DataFrame, rule: pl.Expr) -> int:
    return table.filter(rule).height


def _gone(evidence: Evidence) -> str:
    """What of the log cannot be checked any more; empty when it is whole."""
    if evidence.fact("whole"):
        return ""
    parts = evidence.partitions.filter(~pl.col("whole"))["partition"].to_list()
    return f"the log of partitions {', '.join(map(str, parts))} is not whole any more"


def _unseen(evidence: Evidence) -> str:
    """As `_gone`, but what the checker beside the run has followed is known too, once the run has drained."""
    return "" if evidence.fact("audited") and evidence.fact("drained") else _gone(evidence)


def _acked(evidence: Evidence) -> tuple[str, str]:
    less = evidence.keys.filter(pl.col("postgres_version").fill_null(0) < pl.col("expected_version"))
    fewer = int((less["expected_version"] - less["postgres_version"].fill_null(0)).sum())
    if gone := _unseen(evidence):
        return NODATA, gone
    lost, acked = evidence.fact("lost"), evidence.fact("acked")
    if lost or fewer:
        return FAULT, f"{lost + fewer:,} of {acked:,} acknowledged have no effect"
    if pending := evidence.fact("pending"):
        return NODATA, f"{pending:,} acknowledged were still in the log when the run ended"
    return OK, f"{acked:,} acknowledged, all in effect or dead letters"


def _once(evidence: Evidence) -> tuple[str, str]:
    if gone := _unseen(evidence):
        return NODATA, gone
    more = evidence.keys.filter(pl.col("postgres_version") > pl.col("expected_version").fill_null(0))
    surplus = int((more["postgres_version"] - more["expected_version"].fill_null(0)).sum())
    distinct = evidence.fact("distinct")
    effects = int(evidence.keys["postgres_version"].sum())
    if surplus:
        return FAULT, f"{effects:,} effects of {distinct:,} distinct ids, {surplus:,} too many"
    return OK, f"{effects:,} effects of {distinct:,} distinct ids"


def _versions(evidence: Evidence) -> tuple[str, str]:
    if gone := _unseen(evidence):
        return NODATA, gone
    wrong = _count(evidence.keys, differs("postgres", "expected"))
    keys = evidence.keys.height
    return (FAULT, f"{wrong:,} of {keys:,} keys differ from the log") if wrong else (OK, f"{keys:,} keys as in the log")


def _sent(evidence: Evidence) -> tuple[str, str]:
    if gone := _gone(evidence):
        return NODATA, gone
    foreign, sent = evidence.fact("foreign"), evidence.fact("sent")
    unknown = _count(evidence.keys, pl.col("expected_version").is_null() & pl.col("postgres_version").is_not_null())
    if foreign or unknown:
        return FAULT, f"{foreign:,} effects of ids that nobody sent, {unknown:,} keys that the log does not hold"
    return OK, f"every effect is one of {sent:,} sent"


def _outbox(evidence: Evidence) -> tuple[str, str]:
    if gone := _gone(evidence):
        return NODATA, gone
    frames = evidence.frames
    more = _count(frames, pl.col("delivered_rows") > pl.col("rows"))
    less = _count(frames, pl.col("delivered_rows") < pl.col("rows"))
    strange = evidence.fact("strange_frames")
    if more or strange or (less and evidence.fact("drained")):
        held = f", {strange:,} that the log does not hold" if strange else ""
        return FAULT, f"{more:,} of {frames.height:,} frames were delivered too often, {less:,} not whole{held}"
    if less:
        return NODATA, f"{less:,} of {frames.height:,} frames were still on their way when the run ended"
    return OK, f"{frames.height:,} frames delivered, each once"


def _redis(evidence: Evidence) -> tuple[str, str]:
    wrong = _count(evidence.keys, differs("redis", "postgres") & pl.any_horizontal(_there("redis"), _there("postgres")))
    keys = evidence.keys.height
    return (FAULT, f"{wrong:,} of {keys:,} keys differ") if wrong else (OK, f"{keys:,} keys equal")


def _there(store: str) -> pl.Expr:
    return pl.col(f"{store}_version").is_not_null()


def _clickhouse(evidence: Evidence) -> tuple[str, str]:
    here = pl.any_horizontal(_there("clickhouse"), _there("postgres"))
    wrong = _count(evidence.keys, differs("clickhouse", "postgres") & here)
    frames = _count(evidence.frames, pl.col("clickhouse_rows") != pl.col("rows"))
    if wrong or frames:
        return FAULT, f"{wrong:,} of {evidence.keys.height:,} keys differ, {frames:,} frames do not hold their rows"
    return OK, f"{evidence.keys.height:,} keys equal"


def _unknown(evidence: Evidence) -> tuple[str, str]:
    if not evidence.fact("acked_known"):
        return NODATA, "the generator counted its acknowledgements, and not all came: nobody knows which"
    wrong = evidence.fact("refused_in_effect")
    if wrong:
        return FAULT, f"{wrong:,} refused events are in effect"
    unknown = evidence.ids.filter(pl.col("state") == "unknown")
    count = int((unknown["last"] - unknown["first"] + 1).sum())
    return OK, f"{count:,} without an answer, each in effect once or not at all"


def _dead(evidence: Evidence) -> tuple[str, str]:
    totals = (
        evidence.partitions.select("letters_missing", "letters_foreign", "letters_unpublished", "dead").sum().row(0)
    )
    missing, foreign, unpublished, dead = totals
    if missing or foreign or unpublished:
        return FAULT, f"{missing:,} missing, {foreign:,} without a fault in the log, {unpublished:,} not published"
    gone = _gone(evidence)
    return (NODATA, gone) if gone else (OK, f"{dead:,} dead letters")


def _online(evidence: Evidence) -> tuple[str, str]:
    if not evidence.fact("audit"):
        return NODATA, "no checker ran beside the run; measure with --audit"
    offences = evidence.fact("audit.offences")
    if offences:
        return FAULT, f"{offences:,} offences seen during the run"
    gaps = evidence.fact("audit.unread")
    seen = f"{evidence.fact('audit.records'):,} records and {evidence.fact('audit.delivered'):,} deliveries followed"
    return (NODATA, f"{seen}, but {gaps:,} records were gone before they were read") if gaps else (OK, seen)


RULES: dict[str, Callable[[Evidence], tuple[str, str]]] = dict(
    zip(
        INVARIANTS,
        (_acked, _once, _versions, _sent, _outbox, _redis, _clickhouse, _unknown, _dead, _online),
        strict=True,
    )
)

"""What a campaign found: by kind of fault, in all, and in a folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import polars as pl

from live_adapters.chaos.campaign import Account, Played

FAULTS_FILE, CAMPAIGN_FILE = "faults.parquet", "campaign.json"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Kind:
    """Recovery times of one kind of fault, of those that were recovered from; `felt`: how many disturbed anything."""

    fault: str
    n: int
    felt: int
    median_s: float | None
    p95_s: float | None
    max_s: float | None
    not_recovered: int


@dataclass(frozen=True)
class Summary(Account):
    """A campaign in all, its sessions as one. `passed`: nothing lost, nothing doubled, no rule broken, every fault recovered from."""

    passed: bool
    kinds: tuple[Kind, ...]


def summarise(played: Sequence[Played]) -> Summary:
    """Sums sessions up; availability is weighed by what each has sent."""
    outcomes = [outcome for one in played for outcome in one.outcomes]
    accounts = [one.account for one in played]
    names = list(dict.fromkeys(outcome.fault for outcome in outcomes))
    kinds = []
    for name in names:
        mine = [outcome for outcome in outcomes if outcome.fault == name]
        times = [outcome.recovery_s for outcome in mine if outcome.recovery_s is not None]
        median_s, p95_s, max_s = (float(np.quantile(times, q)) for q in (0.5, 0.95, 1.0)) if times else (None,) * 3
        felt = sum(bool(outcome.felt) for outcome in mine)
        kinds.append(Kind(name, len(mine), felt, median_s, p95_s, max_s, len(mine) - len(times)))
    counted = [each.name for each in fields(Account) if each.name not in ("breaches", "availability")]
    sums = {name: sum(getattr(account, name) for account in accounts) for name in counted}
    breaches = tuple(line for account in accounts for line in account.breaches)
    weighed = sum(account.availability * account.sent_events for account in accounts)
    bad = sums["lost"] or sums["duplicates"] or breaches or any(kind.not_recovered for kind in kinds)
    return Summary(
        passed=not bad,
        kinds=tuple(kinds),
        availability=weighed / sums["sent_events"] if sums["sent_events"] else 0.0,
        breaches=breaches,
        **sums,
    )


def save(folder: Path, played: Sequence[Played], *, seed: int, rate_eps: float) -> None:
    """Writes `faults.parquet`, a row a fault, and `campaign.json`, each under a temporary name first."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"session": number} | asdict(outcome) for number, one in enumerate(played) for outcome in one.outcomes]
    schema = {
        "session": pl.Int64,
        "fault": pl.String,
        "process": pl.String,
        "at_s": pl.Float64,
        "recovery_s": pl.Float64,
        "felt": pl.String,
    }
    _whole(folder / FAULTS_FILE, pl.DataFrame(rows, schema=schema).write_parquet)
    campaign = {
        "schema_version": SCHEMA_VERSION,
        "seed": seed,
        "rate_eps": rate_eps,
        "summary": asdict(summarise(played)),
        "sessions": [asdict(one.account) for one in played],
    }
    text = json.dumps(campaign, indent=1) + "\n"
    _whole(folder / CAMPAIGN_FILE, lambda part: part.write_text(text, encoding="utf-8"))


def _whole(file: Path, write: Callable[[Path], object]) -> None:
    part = file.with_name(f".{file.name}.part")
    try:
        write(part)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)

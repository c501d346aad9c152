"""What many rollouts say of a policy: how soon it notices, what it misses, what it takes back for nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from sentra_sim.plan.rollouts import Row
from sentra_sim.stats import Interval, share_interval

PERCENTILES = (50.0, 95.0, 99.0)
BANDS = 3  # of bad releases by their factors, as many in each


@dataclass(frozen=True)
class Band:
    """Bad releases whose factors lie between two, and the share of them that was promoted."""

    least_factor: float
    most_factor: float
    releases: int
    missed: Interval


@dataclass(frozen=True)
class Summary:
    """A sweep's result; None where there was nothing to count. Times in s, shares with 95 % intervals (Wilson).

    `false_rollbacks`: of the good releases, those taken back. `missed`: of the bad ones, those promoted; `bands` by their
    factors. `unfinished`: rollouts that the end of the load found under way. `detection_s`: percentiles of the time from a bad
    release's first weight to the decision to take it back; `rollback_s` those from the first breach until all was well again, of the
    `restored` rollouts that came to that. `cpu_s`: mean CPU time of a rollout.
    """

    rollouts: int
    bad: int
    unfinished: int
    false_rollbacks: Interval | None
    missed: Interval | None
    bands: tuple[Band, ...]
    detection_s: dict[str, float] | None
    rollback_s: dict[str, float] | None
    restored: int
    cpu_s: float | None


def summarize(rows: Sequence[Row], *, start_s: float) -> Summary:
    """Summarizes the rows of a sweep whose policy gives the first weight at `start_s`."""
    bad, good = [row for row in rows if row["bad"]], [row for row in rows if not row["bad"]]
    caught = [row for row in bad if row["outcome"] == "rolled-back"]
    restored = [row["rollback_s"] for row in rows if row["rollback_s"] is not None]
    return Summary(
        rollouts=len(rows),
        bad=len(bad),
        unfinished=sum(row["outcome"] == "unfinished" for row in rows),
        false_rollbacks=_share(good, "rolled-back"),
        missed=_share(bad, "promoted"),
        bands=_bands(bad),
        detection_s=_percentiles([row["rolled_back_s"] - start_s for row in caught]),
        rollback_s=_percentiles(restored),
        restored=len(restored),
        cpu_s=float(np.mean([row["cpu_s"] for row in rows])) if rows else None,
    )


def _share(rows: Sequence[Row], outcome: str) -> Interval | None:
    return share_interval(sum(row["outcome"] == outcome for row in rows), len(rows)) if rows else None


def _bands(bad: Sequence[Row]) -> tuple[Band, ...]:
    rising = sorted(bad, key=lambda row: float(row["factor"]))
    ends = [len(rising) * number // BANDS for number in range(BANDS + 1)]
    found = []
    for first, last in pairwise(ends):
        rows = rising[first:last]
        if missed := _share(rows, "promoted"):
            found.append(Band(rows[0]["factor"], rows[-1]["factor"], len(rows), missed))
    return tuple(found)


def _percentiles(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    found = np.percentile(np.asarray(values, dtype=np.float64), PERCENTILES)
    named = {f"p{percent:.0f}": float(value) for percent, value in zip(PERCENTILES, found, strict=True)}
    return named | {"max": float(max(values))}

"""Which ids broke an invariant: kept up to a cap, all of them counted."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from live_adapters.verify.evidence import ACKED, OFFENDERS, ONCE, VERSION
from live_adapters.verify.replay import Replay, window_of

CAP = 100  # ids named by invariant; the rest are counted

Places = NDArray[np.int64]  # of records in a partition's log


class Offenders:
    """The list that grows while partitions are looked at."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._rows: list[dict[str, Any]] = []

    def add(self, invariant: str, played: Replay, places: Places, what: str) -> None:
        """Names records of a partition's log."""
        room = max(0, CAP - self.counts[invariant])
        self.counts[invariant] += len(places)
        for place in places[:room].tolist():
            event = played.log.events[place]
            self._rows.append(
                {
                    "invariant": invariant,
                    "session": int(event["session"]),
                    "sequence": int(event["sequence"]),
                    "key": int(event["key"]),
                    "partition": played.log.partition,
                    "offset": int(played.log.offsets[place]),
                    "frame": int(event["frame"]),
                    "what": what,
                }
            )

    def add_ids(self, invariant: str, session: int, sequences: NDArray[Any], what: str) -> None:
        """Names ids of which no record is known."""
        room = max(0, CAP - self.counts[invariant])
        self.counts[invariant] += len(sequences)
        blank: dict[str, Any] = dict.fromkeys(OFFENDERS)
        self._rows += [
            blank | {"invariant": invariant, "session": session, "sequence": sequence, "what": what}
            for sequence in sequences[:room].tolist()
        ]

    def add_place(self, invariant: str, partition: int, offset: int, what: str) -> None:
        """Names a record that has no readable id."""
        self.counts[invariant] += 1
        if self.counts[invariant] <= CAP:
            blank: dict[str, Any] = dict.fromkeys(OFFENDERS)
            self._rows.append(blank | {"invariant": invariant, "partition": partition, "offset": offset, "what": what})

    def table(self) -> pl.DataFrame:
        """Returns the ids named."""
        return pl.DataFrame(self._rows, schema=OFFENDERS)


def blame_versions(offenders: Offenders, played: Replay, difference: dict[int, int], *, again: bool) -> None:
    """Names the events that PostgreSQL has in effect too often, or (not `again`) lacks.

    Args:
        offenders: Where they go.
        played: Their partition.
        difference: By key, how many effects too many or too few, all above zero.
        again: Too many.
    """
    places, what = _blamed(played, difference, again=again)
    for invariant in (ONCE if again else ACKED, VERSION):
        offenders.add(invariant, played, places, what)


def _blamed(played: Replay, difference: dict[int, int], *, again: bool) -> tuple[Places, str]:
    keys = played.log.events["key"].astype(np.int64)
    wrong = np.isin(keys, np.array(list(difference), dtype=np.int64))
    repeats = np.flatnonzero(played.refused & wrong)
    if again and _count_by_key(keys[repeats]) == difference:
        return repeats, "a repetition took effect again"
    taken = np.flatnonzero(played.taken)
    window = window_of(keys[taken], difference)
    if window is not None:
        told = "took effect twice: its batch was applied again" if again else "has no effect: its batch was left out"
        return taken[window], told
    candidates = repeats if again and len(repeats) else np.flatnonzero(played.taken & wrong)
    return (
        candidates,
        f"one of its key's events, of which {sum(difference.values())} are too {'many' if again else 'few'}",
    )


def _count_by_key(keys: NDArray[np.int64]) -> dict[int, int]:
    found, counts = np.unique(keys, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))

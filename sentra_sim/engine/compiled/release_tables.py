"""Tables for a pool with releases: what each is like, and what becomes of the events and polls that they share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentra_sim.engine.compiled.layout import RELEASE, ROOM, rows_of
from sentra_sim.engine.compiled.numbering import Row
from sentra_sim.engine.owners import release_name
from sentra_sim.engine.plan import Plan
from sentra_sim.engine.trace import RELEASE_JOB
from sentra_sim.scenario import Pool
from sentra_sim.scenario.keys import PLACES
from sentra_sim.scenario.schema import Delay


class ReleaseRows:
    """The tables of a plan's pool with releases; hardly anything without any.

    Args:
        plan: what to run.
        delay: adds a delay with its stream and returns its number.
    """

    def __init__(self, plan: Plan, delay: Callable[[tuple[str, str], Delay], int]) -> None:
        pools = [(name, pool) for name, pool in plan.scenario.stations.items() if isinstance(pool, Pool)]
        name, pool = next(((name, pool) for name, pool in pools if pool.releases), ("", None))
        self.delay = delay
        self.number: dict[str, int] = {}  # of pool/release
        self.settings: dict[str, float] = {"by_key": pool is not None, "canary": -1}
        self.settings["shadow_share"] = pool.shadow_share if pool is not None else 0.0
        rows = self._rows(name, pool) if pool is not None else []
        self.arrays: dict[str, NDArray[Any]] = {
            "next_event": np.zeros(len(plan.partition) if pool is not None else 0, dtype=np.int64),
            "place": plan.place,
            "releases": rows_of(RELEASE, rows),
            "release_jobs": np.empty(ROOM if pool is not None else 0, RELEASE_JOB),
        }

    def _rows(self, name: str, pool: Pool) -> list[Row]:
        rows: list[Row] = []
        for number, (release, spec) in enumerate(pool.releases.items()):
            owner = release_name(name, release)
            self.number[owner] = number
            unit = Delay(mean_s=1.0)  # a delay row of mean 1 gives the numbers of a stream as they are
            if spec.weight > 0.0:
                self.settings["canary"] = number
            rows.append(
                {
                    "threshold": round(spec.weight * PLACES),
                    "cold_events": spec.cold_events,
                    "noise": self.delay((owner, "demand"), unit),
                    "tail_draw": self.delay((owner, "tail"), unit),
                    "error_draw": self.delay((owner, "error"), unit),
                    "shadow_draw": self.delay((owner, "shadow"), unit),
                    "begun": spec.weight > 0.0,
                    "factor": spec.factor,
                    "tail_share": spec.tail_share,
                    "tail_factor": spec.tail_factor,
                    "errors": spec.errors,
                    "leak": spec.leak_per_s,
                    "cold_factor": spec.cold_factor,
                    "wait": spec.wait_s,
                    "wrong": spec.wrong,
                }
            )
        return rows

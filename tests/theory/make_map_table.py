"""Writes map_quantiles.json: exact waiting times of MAP/PH/c queues, as LINE's solver has them.

    python3 -m venv line && line/bin/pip install line-solver && line/bin/python -m tests.theory.make_map_table

LINE wants older packages than the lab, so it lives in an environment of its own, which needs nothing of the lab's; run it from the
root of the checkout. `qsys_mapphc` follows Asmussen & Moller, "Calculation of the steady state waiting time distribution in GI/PH/c and
MAP/PH/c queues", Queueing Systems 37, 2001.
"""

from __future__ import annotations

import json
from pathlib import Path

from line_solver.api.qsys.mapphc import qsys_mapphc
from scipy.optimize import brentq

from tests.theory.map_cases import CASES, QUANTILES, Case, arrivals

TABLE = Path(__file__).parent / "map_quantiles.json"
MS = 1e-3  # in other units of time the solver's iteration misses its end, a remainder of 1e-14, and overflows


def solve(case: Case) -> dict[str, float]:
    """Returns mean and quantiles of the wait, s, and how likely an arrival waits."""
    d0, d1 = arrivals()
    queue = (d0 * MS, d1 * MS, case.alpha, case.s * MS, case.servers)

    def beyond(at_ms: float) -> float:
        return float(qsys_mapphc(*queue, w_points=[at_ms]).waitingTimeCCDF[0])

    whole = qsys_mapphc(*queue)
    quantiles = {
        name: MS * float(brentq(lambda at_ms, q=q: beyond(at_ms) - (1.0 - q), 0.0, 1000.0, xtol=1e-11))
        for name, q in QUANTILES.items()
    }
    return {"waits": float(whole.probWait), "mean_wait_s": MS * float(whole.meanWaitingTime)} | quantiles


if __name__ == "__main__":
    TABLE.write_text(json.dumps({case.name: solve(case) for case in CASES}, indent=1) + "\n")

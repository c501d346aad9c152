"""How fast the host is right now: a fixed calibration loop, relative to the first one recorded beside the stack.

Cores of shared machines drift by some percent without any steal; CPU demands are comparable only relative to this.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np

FILE = "hostspeed.json"
ROUNDS = 7
_PYTHON_STEPS = 150_000
_ARRAY = 1 << 16


def loop_seconds(rounds: int = ROUNDS) -> float:
    """Returns the CPU seconds of the calibration loop, the least of some rounds: interpreter, arithmetic and memory work."""
    return min(_round() for _ in range(rounds))


def _round() -> float:
    start = time.thread_time()
    total = 0
    for step in range(_PYTHON_STEPS):
        total += step & 7
    values = np.arange(_ARRAY, dtype=np.float64)
    for _ in range(20):
        values = np.sqrt(values * 1.0000001 + 1.0)
        np.sort(values[::-1])
    return time.thread_time() - start


def relative_speed(seconds: float, home: Path) -> float:
    """Returns the host's speed relative to the first loop recorded in `home`, which this call may be: then 1.0."""
    file = home / FILE
    try:
        first = float(json.loads(file.read_text(encoding="utf-8"))["loop_s"])
    except (OSError, ValueError, KeyError, TypeError):
        first = seconds
        home.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"loop_s": seconds}) + "\n", encoding="utf-8")
    return first / seconds

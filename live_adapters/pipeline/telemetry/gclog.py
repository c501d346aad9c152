"""Pauses of Python's garbage collector, as a hop log of the process: a late frame may have waited for one."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from live_adapters.pipeline.hoplog import PAUSES, HopLog

KIND = "gc"


class GcPauses:
    """Notes every collection of this process in `<scratch>/<name>.gc.bin`, and keeps the totals."""

    def __init__(self, scratch: Path, name: str, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._log = HopLog(scratch, name, KIND, PAUSES)
        self._clock = clock
        self._start = 0
        self.collections = 0
        self.paused_ns = 0

    def start(self) -> None:
        """Notes collections from now on."""
        gc.callbacks.append(self._called)

    def stop(self) -> None:
        """Notes no more."""
        gc.callbacks.remove(self._called)
        self._log.close()

    def _called(self, phase: str, info: dict[str, Any]) -> None:
        if phase == "start":
            self._start = self._clock()
            return
        end = self._clock()
        self.collections += 1
        self.paused_ns += end - self._start
        self._log.append(np.array([(self._start, end, info["generation"])], dtype=PAUSES))

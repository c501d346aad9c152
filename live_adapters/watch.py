"""A run while it goes on: how far each hop is, read off the growing hop logs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from live_adapters.pipeline import hoplog

Log = tuple[str, str, "np.dtype[np.void]"]


@dataclass(frozen=True)
class Progress:
    """What `measure` tells its caller about once a second. Rates are of the last second, counts of the whole run.

    `phase`: starting, warm-up, window, draining or writing. `lag_events`: acknowledged but not yet delivered.
    """

    phase: str
    elapsed_s: float = 0.0
    total_s: float = 0.0
    acked_events: int = 0
    delivered_events: int = 0
    acked_eps: float = 0.0
    delivered_eps: float = 0.0

    @property
    def lag_events(self) -> int:
        """Events acknowledged but not yet delivered."""
        return max(0, self.acked_events - self.delivered_events)


class LogCount:
    """Running sum of the events of a hop log; each look reads only what is new."""

    def __init__(self, scratch: Path, log: Log) -> None:
        self._tail = hoplog.LogTail(scratch, *log)
        self.events = 0

    def look(self) -> int:
        """Returns the events logged until now."""
        self.events += int(self._tail.look()["events"].sum())
        return self.events


class Watch:
    """Counts of the hops that tell how far a run is."""

    def __init__(self, scratch: Path) -> None:
        self.acked = LogCount(scratch, hoplog.GATEWAY_FRAMES)
        self.delivered = LogCount(scratch, hoplog.SUBSCRIBER_DELIVERED)
        self.visible = LogCount(scratch, hoplog.CLICKHOUSE_VISIBLE)
        self._last = (0.0, 0, 0)

    def progress(self, phase: str, elapsed_s: float, total_s: float) -> Progress:
        """Returns the run's progress, with rates since the call before."""
        acked, delivered = self.acked.look(), self.delivered.look()
        then_s, then_acked, then_delivered = self._last
        self._last = (elapsed_s, acked, delivered)
        passed_s = max(elapsed_s - then_s, 1e-9)
        return Progress(
            phase=phase,
            elapsed_s=elapsed_s,
            total_s=total_s,
            acked_events=acked,
            delivered_events=delivered,
            acked_eps=(acked - then_acked) / passed_s,
            delivered_eps=(delivered - then_delivered) / passed_s,
        )

    def drained(self) -> bool:
        """Tells whether everything acknowledged has been delivered and is visible for analysis."""
        acked = self.acked.look()
        return self.delivered.look() >= acked and self.visible.look() >= acked

    def counts(self) -> tuple[int, int, int]:
        """Returns events acknowledged, delivered, visible; equal twice in a row means that nothing moves."""
        return self.acked.look(), self.delivered.look(), self.visible.look()

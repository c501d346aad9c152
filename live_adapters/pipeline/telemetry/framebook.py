"""What is known of the frames under way, joined from the hop logs while these grow. No clock, no output."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from live_adapters.pipeline import hoplog
from live_adapters.pipeline.hoplog import LogTail

Log = tuple[str, str, "np.dtype[np.void]"]
SENT = {"clickhouse": hoplog.CLICKHOUSE_VISIBLE, "sent": hoplog.FANOUT_SENT, "delivered": hoplog.SUBSCRIBER_DELIVERED}
WORKED = ("started", "priced", "committed", "redis")
PARTITION_BITS = 40  # a frame's id holds its partition above these


@dataclass
class Known:
    """A frame: its times by hop, monotonic ns, and how many of its events have passed the hops that may split it."""

    events: int
    intended: NDArray[np.int64]
    marks: dict[str, int]
    passed: dict[str, int] = field(default_factory=dict)
    hops_left: int = len(SENT) + 1  # those that may split it, and the worker, that not all its events have passed

    @property
    def delivered(self) -> bool:
        """Tells whether all its events were delivered."""
        return self.passed.get("delivered", 0) >= self.events

    @property
    def whole(self) -> bool:
        """Tells whether everything of it has arrived everywhere."""
        return self.hops_left == 0

    def see(self, hop: str, events: int, times: dict[str, int]) -> None:
        """Notes that so many of its events have passed a hop."""
        before = self.passed.get(hop, 0)
        self.passed[hop] = before + events
        self.hops_left -= before < self.events <= before + events
        for name, at in times.items():
            self.marks[name] = max(self.marks.get(name, 0), at)


class FrameBook:
    """Follows the logs of a run; `look` reads what is new, `done` gives out each frame once."""

    def __init__(self, scratch: Path) -> None:
        self._gateway = LogTail(scratch, *hoplog.GATEWAY_FRAMES)
        self._intended = LogTail(scratch, *hoplog.GATEWAY_INTENDED)
        self._workers = LogTail(scratch, *hoplog.WORKER_FRAMES)
        self._sent = {hop: LogTail(scratch, *log) for hop, log in SENT.items()}
        self._over: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._early: dict[int, list[tuple[str, int, dict[str, int]]]] = {}  # told of before the gateway's row was seen
        self.frames: dict[int, Known] = {}
        self._whole: list[int] = []
        self.waiting: dict[int, int] = {}  # by partition: events acknowledged and not taken by a worker

    def look(self) -> None:
        """Reads the rows that are new."""
        # Downstream first: what they hold, the gateway has logged or is about to.
        rows = [(hop, tail.look()) for hop, tail in self._sent.items()]
        worked = self._workers.look()
        self._take_gateway(self._gateway.look())
        self._take_worker(worked)
        for hop, block in rows:
            for frame, events, at in block.tolist():
                self._pass(frame, hop, events, {hop: at})

    def done(self, before_ns: int) -> Iterator[tuple[int, Known]]:
        """Yields and forgets the frames that are whole, and those acknowledged before a time, which miss something."""
        whole, self._whole = self._whole, []
        late = takewhile(
            lambda frame: self.frames[frame].marks["acked"] < before_ns, self.frames
        )  # in order of logging
        for frame in dict.fromkeys([*whole, *late]):
            yield frame, self.frames.pop(frame)

    def _take_gateway(self, rows: NDArray[np.void]) -> None:
        # The gateway logs events before their frame: those of a frame that is to come stay over.
        intended = np.concatenate([self._over, self._intended.look()["intended_ns"]])
        at = 0
        for frame, partition, events, received, closed, acked in rows.tolist():
            marks = {"received": received, "closed": closed, "acked": acked}
            self.frames[frame] = Known(events, intended[at : at + events], marks)
            at += events
            self.waiting[partition] = self.waiting.get(partition, 0) + events
            for hop, passed, times in self._early.pop(frame, ()):
                self._pass(frame, hop, passed, times)
        self._over = intended[at:]

    def _take_worker(self, rows: NDArray[np.void]) -> None:
        for frame, _, events, _, *times in rows.tolist():
            partition = frame >> PARTITION_BITS
            self.waiting[partition] = self.waiting.get(partition, 0) - events
            self._pass(frame, "worked", events, dict(zip(WORKED, times, strict=True)))

    def _pass(self, frame: int, hop: str, events: int, times: dict[str, int]) -> None:
        known = self.frames.get(frame)
        if known is None:
            self._early.setdefault(frame, []).append((hop, events, times))
            return
        left = known.hops_left
        known.see(hop, events, times)
        if left and known.whole:
            self._whole.append(frame)

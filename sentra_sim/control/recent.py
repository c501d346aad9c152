"""What passed through a simulation lately: each look reads only what is new or still under way."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sentra_sim.engine import View
from sentra_sim.engine.trace import DLQ, LOST, SHED

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Passed:
    """Frames, and the events that they carry.

    `hops_s`: shape (frames, hops), NaN where a frame did not come. `events`, `partition`: by frame, shape (frames,). `intended_s`
    and `row`: by event, when it was meant to be sent and the row of the frame that carries it.
    """

    hops_s: Floats
    events: Ints
    partition: Ints
    intended_s: Floats
    row: Ints

    def taking(self, frames: NDArray[np.bool_]) -> Passed:
        """Returns some of the frames with their events."""
        place = np.cumsum(frames) - 1
        mine = frames[self.row]
        return Passed(
            self.hops_s[frames],
            self.events[frames],
            self.partition[frames],
            self.intended_s[mine],
            place[self.row[mine]],
        )


def joined(parts: list[Passed]) -> Passed:
    """Returns frames of several parts as one."""
    firsts = np.cumsum([0, *(len(part.events) for part in parts[:-1])])
    return Passed(
        np.concatenate([part.hops_s for part in parts]),
        np.concatenate([part.events for part in parts]),
        np.concatenate([part.partition for part in parts]),
        np.concatenate([part.intended_s for part in parts]),
        np.concatenate([part.row + first for part, first in zip(parts, firsts, strict=True)]),
    )


class Recent:
    """Keeps what was under way within the last `keep_s`, and no more.

    A frame that has come through all hops never changes again: it is read once. Those under way are read at each look; those
    that were dropped on the way are shown no more.

    Args:
        intended_s: when each offered event is meant to be sent, ascending.
        keep_s: how far back a look may reach.
    """

    def __init__(self, intended_s: Floats, keep_s: float) -> None:
        self._intended_s, self._keep_s = intended_s, keep_s
        self._done: deque[tuple[float, Passed]] = deque()
        self._open = self._waiting = np.empty(0, np.int64)  # frames under way, events of none or of those
        self._frames = self._offered = 0  # how many were looked at
        self._dropped: deque[tuple[float, int]] = deque()  # frames, by the look that found them dropped

    def dropped(self, start_s: float) -> int:
        """Counts the frames that looks after `start_s` found dropped."""
        return sum(frames for at_s, frames in self._dropped if at_s > start_s)

    def look(self, view: View, since_s: float) -> Passed:
        """Returns all frames under way now or at some moment after `since_s`, and some that were before."""
        numbers = np.concatenate([self._open, np.arange(self._frames, view.frames)])
        offered = int(np.searchsorted(self._intended_s, view.now_s))
        waiting = np.concatenate([self._waiting, np.arange(self._offered, offered)])
        self._frames, self._offered = view.frames, offered

        rows, frame_of = view.rows(numbers), view.frame_of(waiting)
        taken = frame_of >= 0
        row = np.searchsorted(numbers, frame_of[taken])
        here = Passed(
            rows.hops_s,
            rows.events.astype(np.int64),
            rows.partition.astype(np.int64),
            self._intended_s[waiting[taken]],
            row,
        )
        through = np.asarray(np.isfinite(rows.hops_s).all(axis=1))
        gone = np.isin(rows.outcome, (DLQ, SHED, LOST))
        over = through | gone
        self._open = numbers[~over]
        still = np.ones(len(waiting), dtype=np.bool_)
        still[taken] = ~over[row]
        self._waiting = waiting[still]
        if gone.any():
            self._dropped.append((view.now_s, int(gone.sum())))
            here, through = here.taking(~gone), through[~gone]

        while self._done and self._done[0][0] <= view.now_s - self._keep_s:
            self._done.popleft()
        while self._dropped and self._dropped[0][0] <= view.now_s - self._keep_s:
            self._dropped.popleft()
        before = [part for end_s, part in self._done if end_s > since_s]
        if through.any():
            finished = here.taking(through)
            self._done.append((float(finished.hops_s.max()), finished))
        return joined([*before, here])

"""What became of each id that the generator sent, as far as the generator knows: acknowledged, refused, or unknown."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from live_adapters.pipeline import hoplog

NOT_SENT, ACKED, REFUSED, UNKNOWN = 0, 1, 2, 3
STATES = {ACKED: "acked", REFUSED: "refused", UNKNOWN: "unknown"}
SESSION = 1  # the generator's


@dataclass(frozen=True)
class Answers:
    """The state of each sequence of the generator's session, shape (sent + 1,); a message without an answer is unknown.

    `which` is false when the generator counted its acknowledgements only and not all were, so that nobody knows which.
    """

    states: NDArray[np.uint8]
    acked: int
    which: bool

    @property
    def sent(self) -> int:
        """How many ids were sent."""
        return len(self.states) - 1

    def of(self, sequence: NDArray[np.uint64]) -> NDArray[np.uint8]:
        """Returns the states of sequences, NOT_SENT for those beyond what was sent."""
        inside = sequence <= np.uint64(self.sent)
        return np.where(inside, self.states[np.where(inside, sequence, np.uint64(0))], NOT_SENT).astype(np.uint8)


def answers(scratch: Path, sent: int, acked: int) -> Answers:
    """Reads the generator's log of answers; without one, everything is acknowledged if as much was acknowledged as was sent."""
    rows = hoplog.read_log(scratch, *hoplog.GENERATOR_ACKS)
    states = np.full(sent + 1, UNKNOWN, dtype=np.uint8)
    states[0] = NOT_SENT
    if not len(rows):
        if acked >= sent:
            states[1:] = ACKED
        return Answers(states, min(acked, sent), acked >= sent)
    # A message may be answered more than once, after it was sent again: one acknowledgement is enough.
    for state in (REFUSED, ACKED):
        mine = rows[rows["state"] == state]
        for first, last in zip(mine["first"].tolist(), mine["last"].tolist(), strict=True):
            states[first : last + 1] = state
    return Answers(states, int((states == ACKED).sum()), True)


def ranges(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Returns the runs of true as (first, last).

    >>> ranges(np.array([False, True, True, False, True]))
    [(1, 2), (4, 4)]
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(first), int(end) - 1) for first, end in edges.reshape(-1, 2)]

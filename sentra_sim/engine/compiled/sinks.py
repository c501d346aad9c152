"""Where the frames of a run of the compiled engine go when they are over."""

from __future__ import annotations

from typing import Any, Protocol


class Sink(Protocol):
    """Takes the frames that are over, in order of opening; their rows are used again then.

    Without a sink all frames stay, for the trace.
    """

    def take(self, state: Any, first: int, end: int) -> None:
        """Takes frames `first` to `end - 1`, with the events whose frames they are."""
        ...

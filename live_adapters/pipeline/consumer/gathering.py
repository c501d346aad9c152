"""How long a poll waits for company: the full time when the consumer keeps up, none when it is behind. Pure.

Waiting makes polls fuller, which is cheaper per event; a consumer that is behind gets full polls anyway, and each wait would
only leave it further behind.
"""

from __future__ import annotations

# Half a full poll of events behind, or more, waiting for company buys nothing.
LAG_POLLS = 0.5
GROWING_POLLS = 8  # polls from no wait back to the full one, so that a lag that comes and goes does not toggle it


class GatherTime:
    """The time to gather, adapted to the lag seen at each poll."""

    def __init__(self, most_s: float, max_poll_events: int) -> None:
        self._most_s = most_s
        self._lag_events = LAG_POLLS * max_poll_events
        self.now_s = most_s
        self.shrunk = 0

    def see(self, lag_events: int) -> None:
        """Notes how many events wait in the log after a poll was taken."""
        if lag_events > self._lag_events:
            self.shrunk += self.now_s > 0.0
            self.now_s = 0.0
        elif self.now_s < self._most_s:
            self.now_s = min(self._most_s, self.now_s + self._most_s / GROWING_POLLS)

"""A circuit breaker: a store that fails again and again is left alone for a while, then probed. No I/O, the clock is given.

closed → open after `failures` consecutive failures → half-open after `cooldown_s`, for one probe → closed or open again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import Enum


class State(Enum):
    """What a breaker lets through: every call, none, or one probe."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Breaker:
    """One store's breaker. Ask `permits()` before a call, then say `succeeded()` or `failed()`."""

    def __init__(
        self,
        name: str,
        *,
        failures: int = 3,
        cooldown_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._limit, self._cooldown_s, self._clock = failures, cooldown_s, clock
        self._failures = 0
        self._opened_s = 0.0
        self.state = State.CLOSED
        self.changes = dict.fromkeys(State, 0)  # how often each state was entered
        self.failed_calls = 0

    def permits(self) -> bool:
        """Tells whether a call may go out now; after the cool-down the one who asks first is the probe."""
        if self.state is State.OPEN and self.wait_s() <= 0.0:
            self._enter(State.HALF_OPEN)
            return True
        return self.state is State.CLOSED

    def wait_s(self) -> float:
        """Returns how long the cool-down still lasts; 0 when it is over or the breaker is not open."""
        if self.state is not State.OPEN:
            return 0.0
        return max(0.0, self._opened_s + self._cooldown_s - self._clock())

    def succeeded(self) -> None:
        """Notes a call that was answered, a refusal included: the store is there."""
        self._failures = 0
        if self.state is not State.CLOSED:
            self._enter(State.CLOSED)

    def failed(self) -> None:
        """Notes a call that was not answered."""
        self._failures += 1
        self.failed_calls += 1
        if self.state is State.HALF_OPEN or (self.state is State.CLOSED and self._failures >= self._limit):
            self._opened_s = self._clock()
            self._enter(State.OPEN)

    def report(self) -> dict[str, int]:
        """Returns the counters of a process' report: failed calls and the times each state was entered."""
        entered = {f"{self.name}_breaker_{state.value.replace('-', '_')}": n for state, n in self.changes.items()}
        return {f"{self.name}_failures": self.failed_calls} | entered

    def _enter(self, state: State) -> None:
        self.state = state
        self.changes[state] += 1

"""How a consumer calls a station that may fail: again after a pause with full jitter, not while its circuit breaker is open."""

from __future__ import annotations

from sentra_sim.scenario.schema import Breaker as BreakerSpec


class Breaker:
    """A circuit breaker: closed, then open for a time, then half open until enough probes have passed.

    A consumer has one poll at a time, so that a half-open breaker lets one call through at a time by itself.
    """

    def __init__(self, spec: BreakerSpec) -> None:
        self.spec = spec
        self.failures = self.passed = 0
        self.opened = False
        self.until_s = 0.0

    def wait_s(self, now_s: float) -> float:
        """Returns how long the next call has to wait; not above zero when it need not."""
        return self.until_s - now_s if self.opened else 0.0

    def note(self, now_s: float, *, failed: bool) -> None:
        """Notes how a call went."""
        if failed:
            self.failures += 1
            if self.opened or 0 < self.spec.failures <= self.failures:
                self.opened, self.passed, self.until_s = True, 0, now_s + self.spec.open_s
        elif self.opened:
            self.passed += 1
            if self.passed >= self.spec.probes:
                self.opened, self.failures = False, 0
        else:
            self.failures = 0

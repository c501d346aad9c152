"""Calls of a store that must get through: tried again with full jitter, behind a breaker, up to a total time."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from live_adapters.pipeline.stores.breaker import Breaker
from live_adapters.pipeline.stores.retry import Backoff, StoreAwayError
from sentra_sim.errors import PlantError

# The total is the time a killed store may take to be started again by hand; after it the supervisor hears of it.
BACKOFF = Backoff(base_s=0.05, cap_s=2.0, total_s=60.0)

T = TypeVar("T")
log = logging.getLogger(__name__)


class StoreCalls:
    """One store as its caller sees it: a call returns when it got through, however often the store went away meanwhile."""

    def __init__(
        self, breaker: Breaker, rng: random.Random, stopping: Callable[[], bool], backoff: Backoff = BACKOFF
    ) -> None:
        self.breaker = breaker
        self._rng, self._stopping, self._backoff = rng, stopping, backoff
        self.retries = 0

    async def until_done(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Returns what `attempt` returns at last; it is called anew after every StoreAwayError.

        Raises:
            PlantError: the total time is over, or the process is asked to end while the store is away.
        """
        give_up_s = time.monotonic() + self._backoff.total_s
        delays_s = self._backoff.delays_s(self._rng)
        while True:
            await self._permitted()
            try:
                answer = await attempt()
            except StoreAwayError as error:
                self.breaker.failed()
                await self._pause(next(delays_s), give_up_s, error)
            except PlantError:
                self.breaker.succeeded()  # it answered, if only to refuse
                raise
            else:
                self.breaker.succeeded()
                return answer

    async def _permitted(self) -> None:
        while not self.breaker.permits():
            await asyncio.sleep(max(self.breaker.wait_s(), self._backoff.base_s))  # base: while another's probe is out

    async def _pause(self, delay_s: float, give_up_s: float, error: StoreAwayError) -> None:
        pause_s = max(delay_s, self.breaker.wait_s())
        if self._stopping():
            raise PlantError(f"{error}; asked to end meanwhile") from None
        if time.monotonic() + pause_s > give_up_s:
            raise PlantError(f"{error}; gave up after {self._backoff.total_s:g} s of retries") from None
        log.warning("%s; tries again in %.2f s (breaker %s)", error, pause_s, self.breaker.state.value)
        self.retries += 1
        await asyncio.sleep(pause_s)

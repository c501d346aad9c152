"""Retries: how long, how often, and when one gives up."""

import asyncio
import random
from itertools import islice

import pytest

from live_adapters.pipeline.stores.breaker import Breaker, State
from live_adapters.pipeline.stores.retry import Backoff, StoreAwayError
from live_adapters.pipeline.stores.storecalls import StoreCalls
from sentra_sim.errors import PlantError

SOON = Backoff(base_s=1e-4, cap_s=1e-3, total_s=60.0)


def test_delays_are_uniform_below_a_bound_that_doubles_up_to_its_cap() -> None:
    backoff = Backoff(base_s=0.1, cap_s=1.0, total_s=10.0)
    drawn = [list(islice(backoff.delays_s(random.Random(seed)), 6)) for seed in range(2000)]
    for place, bound_s in enumerate([0.1, 0.2, 0.4, 0.8, 1.0, 1.0]):
        delays = [row[place] for row in drawn]
        assert 0.0 <= min(delays) < 0.05 * bound_s
        assert 0.95 * bound_s < max(delays) <= bound_s
        assert sum(delays) / len(delays) == pytest.approx(bound_s / 2, rel=0.05)


def test_the_same_stream_gives_the_same_delays_and_many_failures_do_not_overflow() -> None:
    backoff = Backoff(base_s=0.1, cap_s=2.0, total_s=10.0)
    first, second = (list(islice(backoff.delays_s(random.Random(7)), 2000)) for _ in range(2))
    assert first == second
    assert max(first) <= 2.0


class Flaky:
    """A store that is away for the first so many calls."""

    def __init__(self, away: int) -> None:
        self.away, self.calls = away, 0

    async def call(self) -> str:
        self.calls += 1
        if self.calls <= self.away:
            raise StoreAwayError("store: must answer, got nothing")
        return "done"


def play(store: Flaky, backoff: Backoff = SOON, *, stopping: bool = False) -> tuple[StoreCalls, str]:
    calls = StoreCalls(Breaker("store", failures=2, cooldown_s=1e-3), random.Random(1), lambda: stopping, backoff)
    return calls, asyncio.run(calls.until_done(store.call))


def test_a_call_gets_through_as_soon_as_the_store_is_back() -> None:
    store = Flaky(away=5)
    calls, answer = play(store)
    assert (answer, store.calls, calls.retries) == ("done", 6, 5)
    assert calls.breaker.state is State.CLOSED
    report = {"store_failures": 5, "store_breaker_open": 4, "store_breaker_half_open": 4, "store_breaker_closed": 1}
    assert calls.breaker.report() == report


def test_after_the_total_time_or_when_asked_to_end_the_caller_hears_of_it() -> None:
    with pytest.raises(PlantError, match=r"store: must answer, got nothing; gave up after 0 s"):
        play(Flaky(away=99), Backoff(base_s=0.01, cap_s=0.01, total_s=0.0))
    store = Flaky(away=99)
    with pytest.raises(PlantError, match="asked to end"):
        play(store, stopping=True)
    assert store.calls == 1


def test_what_is_no_outage_is_not_tried_again() -> None:
    class Refusing(Flaky):
        async def call(self) -> str:
            self.calls += 1
            raise PlantError("store: must take it, got a refusal")

    store = Refusing(away=0)
    with pytest.raises(PlantError, match="refusal"):
        play(store)
    assert store.calls == 1

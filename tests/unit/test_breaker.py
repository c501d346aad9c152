"""The circuit breaker, state by state, on a clock that the test moves."""

from live_adapters.pipeline.stores.breaker import Breaker, State


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def opened(clock: Clock) -> Breaker:
    breaker = Breaker("redis", failures=3, cooldown_s=2.0, clock=clock)
    for _ in range(3):
        assert breaker.permits()
        breaker.failed()
    return breaker


def test_it_opens_after_consecutive_failures_only() -> None:
    breaker = Breaker("redis", failures=3, clock=Clock())
    for answered in (False, False, True, False, False):
        (breaker.succeeded if answered else breaker.failed)()
    assert (breaker.state, breaker.permits()) == (State.CLOSED, True)
    breaker.failed()
    assert (breaker.state, breaker.permits()) == (State.OPEN, False)


def test_after_the_cool_down_one_probe_goes_out_and_decides() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now_s += 1.5
    assert (breaker.permits(), breaker.wait_s()) == (False, 0.5)
    clock.now_s += 0.5
    assert [breaker.permits(), breaker.permits()] == [True, False]
    breaker.failed()
    assert (breaker.state, breaker.wait_s()) == (State.OPEN, 2.0)
    clock.now_s += 2.0
    assert breaker.permits()
    breaker.succeeded()
    assert [breaker.state, breaker.permits(), breaker.permits()] == [State.CLOSED, True, True]


def test_after_a_recovery_it_takes_as_many_failures_as_before() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now_s += 2.0
    assert breaker.permits()
    breaker.succeeded()
    breaker.failed()
    assert breaker.state is State.CLOSED


def test_every_change_is_counted() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now_s += 2.0
    breaker.permits()
    breaker.succeeded()
    expected = {"redis_failures": 3, "redis_breaker_open": 1, "redis_breaker_half_open": 1, "redis_breaker_closed": 1}
    assert breaker.report() == expected

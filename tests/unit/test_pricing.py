"""The pricing service's valuation: a function of the event alone, against the closed form and what finance demands of it."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from live_adapters.pipeline.releases.valuation import CHUNK_EVENTS, RATE, call_value, contract_of, price_events

KEYS = np.arange(2000, dtype=np.uint32)


def prices(quantity: float = 10.0, spot: float = 100.0) -> np.ndarray:
    return price_events(KEYS, np.full(len(KEYS), quantity), np.full(len(KEYS), spot))


def test_the_same_event_has_the_same_price_wherever_it_stands_in_a_request() -> None:
    rng = np.random.default_rng(1)
    quantities, spots = rng.normal(0, 50, len(KEYS)), rng.uniform(50, 150, len(KEYS))
    whole = price_events(KEYS, quantities, spots)
    for place in (0, CHUNK_EVENTS - 1, CHUNK_EVENTS, len(KEYS) - 1):
        one = slice(place, place + 1)
        assert price_events(KEYS[one], quantities[one], spots[one]) == pytest.approx(whole[one], rel=1e-14)
    assert price_events(KEYS[:0], quantities[:0], spots[:0]).shape == (0,)


def test_every_input_matters() -> None:
    base = prices()
    assert len(np.unique(base)) == len(KEYS)
    assert (prices(quantity=11.0) != base).all()
    assert (prices(spot=100.5) != base).all()


def test_a_larger_order_bears_a_larger_risk_charge_whatever_its_side() -> None:
    small, large = prices(quantity=1.0), prices(quantity=100.0)
    assert (large > small).all()
    assert (prices(quantity=-100.0) == large).all()
    assert (prices(quantity=0.0) < small).all()


def test_a_call_is_worth_the_discounted_mean_of_its_payoff() -> None:
    spot, strike, tenor_y, volatility = 103.0, 95.0, 0.75, 0.3

    def payoff(z: float) -> float:
        drift = (RATE - volatility**2 / 2) * tenor_y
        return max(spot * np.exp(drift + volatility * np.sqrt(tenor_y) * z) - strike, 0.0) * norm.pdf(z)

    expected = np.exp(-RATE * tenor_y) * quad(payoff, -8.0, 8.0, points=[0.0])[0]
    inputs = (np.array([value]) for value in (spot, strike, tenor_y, volatility))
    assert call_value(*inputs) == pytest.approx(expected, rel=1e-6)


def test_contracts_differ_by_key_within_their_bounds() -> None:
    strike, tenor_y = contract_of(KEYS)
    assert (strike.min() >= 70.0, strike.max() <= 130.0, tenor_y.min() >= 0.1, tenor_y.max() <= 2.0) == (True,) * 4
    assert len(np.unique(strike)) > 1900


@pytest.mark.parametrize("spot", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("quantity", [-1e9, 0.0, 1e9])
def test_extreme_orders_are_priced_without_overflow(quantity: float, spot: float) -> None:
    found = prices(quantity, spot)
    assert np.isfinite(found).all()
    assert (found >= 0.0).all()

"""What the pricing service computes: a risk-adjusted option value per event, real floating-point work without a loop per event.

Each key is a European call whose strike ratio and tenor follow from the key; the event's limit price is the spot. The value is
Black and Scholes (1973) under a parabolic volatility surface in standardised log-moneyness, the risk charge the mean
loss over the worst scenarios of joint spot and volatility shocks (expected shortfall), growing with the order's size.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

RATE = 0.02  # per year, continuously compounded
RISK_AVERSION = 0.25
WORST = 4  # scenarios that the expected shortfall averages
CHUNK_EVENTS = 256  # keeps the scenario matrices in the second-level cache
SPOT_SHOCKS = np.repeat([-0.15, -0.08, -0.03, 0.03, 0.08, 0.15], 4)[:, None]  # every pair of a spot and
VOLATILITY_SHOCKS = np.tile([-0.04, -0.01, 0.04, 0.08], 6)[:, None]  # a volatility shock

Floats = NDArray[np.float64]


def price_events(
    keys: NDArray[np.uint32], quantities: Floats, limit_prices: Floats, chunk_events: int = CHUNK_EVENTS
) -> Floats:
    """Returns the risk-adjusted price per event, shape (events,); the same inputs give the same bits.

    `chunk_events` are priced at a time: it changes the cost, and the prices by rounding at most.

    >>> price_events(np.array([1], np.uint32), np.array([1.0]), np.array([100.0])).round(6).tolist()
    [8.63714]
    """
    prices = np.empty(len(keys))
    for start in range(0, len(keys), chunk_events):
        part = slice(start, start + chunk_events)
        prices[part] = _price(keys[part], quantities[part], limit_prices[part])
    return prices


def call_value(spot: Floats, strike: Floats, tenor_y: Floats, volatility: Floats) -> Floats:
    """Returns the Black-Scholes value of a European call; arguments broadcast, tenor in years, volatility per root year."""
    deviation = volatility * np.sqrt(tenor_y)
    d1 = (np.log(spot / strike) + RATE * tenor_y) / deviation + 0.5 * deviation
    return np.asarray(spot * ndtr(d1) - strike * np.exp(-RATE * tenor_y) * ndtr(d1 - deviation))


def contract_of(keys: NDArray[np.uint32]) -> tuple[Floats, Floats]:
    """Returns strike and tenor in years of each key's contract."""
    mixed = keys * np.uint32(2654435761)  # Knuth's multiplicative hash: high half the strike, low half the tenor
    strike: Floats = 70.0 + 60.0 * (mixed >> np.uint32(16)).astype(np.float64) / 65536.0
    tenor_y: Floats = 0.1 + 1.9 * (mixed & np.uint32(0xFFFF)).astype(np.float64) / 65536.0
    return strike, tenor_y


def surface(spot: Floats, strike: Floats, tenor_y: Floats) -> Floats:
    """Returns the implied volatility: a smile with skew that flattens with tenor, within [0.05, 0.9]."""
    moneyness = np.clip(np.log(strike / spot) / np.sqrt(tenor_y), -3.0, 3.0)
    return np.clip(0.20 + 0.03 / np.sqrt(tenor_y) - 0.06 * moneyness + 0.08 * moneyness * moneyness, 0.05, 0.9)


def _price(keys: NDArray[np.uint32], quantities: Floats, spot: Floats) -> Floats:
    strike, tenor_y = contract_of(keys)
    volatility = surface(spot, strike, tenor_y)
    value = call_value(spot, strike, tenor_y, volatility)
    shocked_spot = spot * (1.0 + SPOT_SHOCKS)
    shocked_volatility = np.maximum(volatility + VOLATILITY_SHOCKS, 0.01)
    losses = np.abs(value - call_value(shocked_spot, strike, tenor_y, shocked_volatility))
    shortfall = np.partition(losses, len(losses) - WORST, axis=0)[-WORST:].mean(axis=0)
    return np.asarray(value + RISK_AVERSION * shortfall * np.log1p(np.abs(quantities)))

"""A release at work: prices events as its manifest says, the planted defect included.

Defects are real: more CPU is the valuation done again, a leak is memory written to and kept. What a defect hits is drawn from a
stream of the release's seed, in order of the requests.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from live_adapters.pipeline.releases.releases import ColdCache, Errors, Lag, Leak, Release, Slower, Tail, WrongPrice
from live_adapters.pipeline.releases.valuation import Floats, price_events
from sentra_sim.errors import PlantError
from sentra_sim.rng import stream


@dataclass(frozen=True)
class Order:
    """What is to be priced: keys, quantities and limit prices, each of shape (events,)."""

    keys: NDArray[np.uint32]
    quantities: Floats
    limit_prices: Floats

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, chosen: NDArray[np.intp] | slice) -> Order:
        """Returns the chosen events as an order of their own."""
        return Order(self.keys[chosen], self.quantities[chosen], self.limit_prices[chosen])


class Candidate:
    """One release with its state. `wait_s` is how long its answers wait without costing CPU."""

    def __init__(self, release: Release) -> None:
        self.release = release
        self.wait_s = release.change.wait_s if isinstance(release.change, Lag) else 0.0
        self._rng = stream(release.seed, release.name, release.change.kind)
        self._kept: list[NDArray[np.uint8]] = []
        self._kept_bytes = 0
        self._priced_events = 0

    def price(self, order: Order) -> Floats:
        """Returns the release's price per event, shape (events,).

        Raises:
            PlantError: the release fails, or prices an event at what is no number.
        """
        change = self.release.change
        if isinstance(change, Errors) and self._rng.random() < change.share:
            raise PlantError(f"{self.release.name}: must price every request, got {change.reason}; retry on stable")
        if isinstance(change, Leak):
            self._keep(change)
        prices = self._value(order)
        self._burn(order, self._cpu_factor(len(order)))
        self._priced_events += len(order)
        if isinstance(change, WrongPrice):
            prices[self._rng.random(len(prices)) < change.share] *= 1.0 + change.error
        if not np.isfinite(prices).all():
            raise PlantError(f"{self.release.name}: must price every event, got no number; retry on stable")
        return prices

    def _value(self, order: Order) -> Floats:
        return price_events(order.keys, order.quantities, order.limit_prices, self.release.change.chunk_events)

    def _cpu_factor(self, events: int) -> float:
        change = self.release.change
        if isinstance(change, Slower):
            return change.factor
        if isinstance(change, Tail):
            return change.factor if self._rng.random() < change.share else 1.0
        if isinstance(change, ColdCache) and events:
            cold = min(max(0, change.cold_events - self._priced_events), events)
            return 1.0 + (change.factor - 1.0) * cold / events
        return 1.0

    def _burn(self, order: Order, factor: float) -> None:
        """Prices again until the CPU spent is `factor` times that of once."""
        again, rest = divmod(factor - 1.0, 1.0)
        for _ in range(int(again)):
            self._value(order)
        if rest:
            self._value(order.take(slice(0, round(rest * len(order)))))

    def _keep(self, change: Leak) -> None:
        if self._kept_bytes + change.request_bytes <= change.max_bytes:
            self._kept.append(np.ones(change.request_bytes, np.uint8))  # written to: untouched pages take no memory
            self._kept_bytes += change.request_bytes

"""The worker's calls of the pricing service: a connection that was lost is opened anew, and the poll priced again."""

from __future__ import annotations

from live_adapters.pipeline.consumer.poll import Poll
from live_adapters.pipeline.releases.pricingclient import PricingClient
from live_adapters.pipeline.releases.pricingwire import Priced
from live_adapters.pipeline.stores.retry import StoreAwayError
from live_adapters.pipeline.stores.storecalls import StoreCalls
from sentra_sim.errors import PlantError


class Quotes:
    """Prices of polls. Pricing changes nothing, so asking twice does no harm."""

    def __init__(self, host: str, port: int, calls: StoreCalls) -> None:
        self._host, self._port = host, port
        self._calls = calls
        self._client: PricingClient | None = None

    async def price(self, poll: Poll) -> Priced:
        """Returns the price per event of a poll, and which release it is of.

        Raises:
            PlantError: the service stays away.
        """
        return await self._calls.until_done(lambda: self._ask(poll))

    def close(self) -> None:
        """Closes the connection."""
        if self._client is not None:
            self._client.close()
            self._client = None

    async def _ask(self, poll: Poll) -> Priced:
        events = poll.events
        try:
            if self._client is None:
                self._client = await PricingClient.open(self._host, self._port)
            return await self._client.price(len(poll.pieces), events["key"], events["quantity"], events["limit_price"])
        except PlantError as error:
            self.close()
            raise StoreAwayError(str(error)) from None

"""The stores of a worker: what it calls, with a circuit breaker each."""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import dataclass

from aiokafka.errors import KafkaError

from live_adapters.pipeline import planted
from live_adapters.pipeline.config import RunConfig
from live_adapters.pipeline.process import Lifecycle
from live_adapters.pipeline.stores.breaker import Breaker
from live_adapters.pipeline.stores.deadletters import DeadLetterRelay
from live_adapters.pipeline.stores.hotstate import HotState
from live_adapters.pipeline.stores.ledger import Ledger, OutboxTable, SideConnection, open_ledger
from live_adapters.pipeline.stores.outbox import Downstream
from live_adapters.pipeline.stores.quotes import Quotes
from live_adapters.pipeline.stores.retry import StoreAwayError
from live_adapters.pipeline.stores.storecalls import StoreCalls
from sentra_sim.scenario import Store

DRAIN_S = 10.0
DEFAULT_FLUSH_S = 0.4


@dataclass(frozen=True)
class Stores:
    """What a worker calls. Each has a circuit breaker; `postgres` is that of the ledger, with its retries."""

    ledger: Ledger
    postgres: StoreCalls
    side: SideConnection
    quotes: Quotes
    pricing: StoreCalls
    hot: HotState
    downstream: tuple[Downstream, ...]
    relay: DeadLetterRelay

    def breakers(self) -> list[Breaker]:
        """Returns the breaker of every store."""
        others = [server.breaker for server in self.downstream]
        return [self.postgres.breaker, self.pricing.breaker, self.hot.breaker, *others]

    def report(self) -> dict[str, int]:
        """Returns the counters of the process' report: failures, retries and each breaker's changes, by store."""
        counters = {name: value for breaker in self.breakers() for name, value in breaker.report().items()}
        counters |= {"postgres_retries": self.postgres.retries, "pricing_retries": self.pricing.retries}
        return counters | {"redis_rebuilt": self.hot.rebuilt, "dead_published": self.relay.published}

    async def close(self) -> None:
        """Lets what is downstream drain, then closes every connection."""
        await asyncio.gather(*(server.close(DRAIN_S) for server in self.downstream))
        with contextlib.suppress(StoreAwayError, KafkaError, TimeoutError):  # what is left stays in the table
            await asyncio.wait_for(self.relay.publish_all(), DRAIN_S)
        await self.relay.close()
        await self.hot.close()
        self.quotes.close()
        await self.side.close()
        await self.ledger.close()


async def open_stores(config: RunConfig, life: Lifecycle) -> Stores:
    """Connects to PostgreSQL, and makes ready what connects to the others when they are called."""
    rng = random.Random()
    postgres, pricing = (StoreCalls(Breaker(name), rng, lambda: life.stopping) for name in ("postgres", "pricing"))
    ledger = await postgres.until_done(lambda: open_ledger(config.postgres_dsn))
    side = SideConnection(config.postgres_dsn)
    table = OutboxTable(side)
    ingest = {"hop_log": str(config.scratch), "flush_s": _flush_s(config)} | planted.ingest_options(config)
    return Stores(
        ledger=ledger,
        postgres=postgres,
        side=side,
        quotes=Quotes(config.host, config.pricing_port, pricing),
        pricing=pricing,
        hot=HotState(config.redis_host, config.redis_port, ledger.state_of, Breaker("redis")),
        downstream=(
            Downstream("fanout", config.host, config.fanout_ingest_port, {}, table.after),
            Downstream("clickhouse", config.clickhouse_host, config.clickhouse_port, ingest, table.after),
        ),
        relay=DeadLetterRelay(config, side),
    )


def _flush_s(config: RunConfig) -> float:
    flushes = [s.flush_s for s in config.scenario.stations.values() if isinstance(s, Store) and s.flush_s > 0.0]
    return flushes[0] if flushes else DEFAULT_FLUSH_S

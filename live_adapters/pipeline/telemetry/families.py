"""What the pipeline's processes expose, from the counters that they keep for their reports. Labels are bounded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Protocol

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from live_adapters.pipeline.stores.breaker import Breaker, State
from live_adapters.pipeline.telemetry.exposition import counter, counters, gauge, gauges
from sentra_sim.units import NS_PER_S

if TYPE_CHECKING:  # no process loads what another one needs
    from live_adapters.pipeline.consumer.source import Source
    from live_adapters.pipeline.ingress.intake import Intake
    from live_adapters.pipeline.releases.pricingpool import PricingPool
    from live_adapters.pipeline.workerstores import Stores


class Sent(Protocol):
    """What an edge has sent, and to whom."""

    events: int
    counts: Counter[str]

    @property
    def subscribers(self) -> int:
        """How many there are now."""

    @property
    def repeated_frames(self) -> int:
        """How many frames came again."""


class Delivered(Protocol):
    """What has arrived at subscribers."""

    events: int
    duplicates: int
    gaps: int
    reconnections: int


def gateway_metrics(intake: Intake) -> Iterable[Metric]:
    """What the gateway's control does not tell: it has refusals, streams and events in flight."""
    yield counter("sentra_gateway_frames", "Frames that Kafka has acknowledged.", intake.frames)


def worker_metrics(counts: Mapping[str, int], source: Source, stores: Stores) -> Iterable[Metric]:
    """Polls and their outcome, lag, retries, and the breaker of each store."""
    yield counter("sentra_polls", "Polls committed.", counts["polls"])
    yield counter("sentra_worker_events", "Events that took effect.", counts["events"])
    yield counter("sentra_worker_duplicate_events", "Events refused as known already.", counts["duplicates"])
    yield counter("sentra_worker_dead_events", "Events put aside as bad.", counts["dead"])
    yield counter("sentra_worker_resumptions", "Times that PostgreSQL came back.", counts["resumed"])
    yield counter("sentra_outbox_trimmed_rows", "Outbox rows deleted.", counts["trimmed"])
    yield counter("sentra_redis_rebuilds", "Partitions rebuilt in Redis.", stores.hot.rebuilt)
    yield counter("sentra_dead_letters_published", "Dead letters sent to their topic.", stores.relay.published)
    retries = {"postgres": stores.postgres.retries, "pricing": stores.pricing.retries}
    yield counters("sentra_store_retries", "Calls tried again.", "store", retries)
    lag = {str(partition): events for partition, events in source.lag_by_partition().items()}
    yield gauges(
        "kafka_consumergroup_lag_events", "Events not taken yet, as of each broker's last answer.", "partition", lag
    )
    waiting = {server.name: server.unconfirmed_records for server in stores.downstream}
    yield gauges("sentra_outbox_unconfirmed_records", "Records committed and not confirmed.", "store", waiting)
    yield from breaker_metrics(stores.breakers())


def breaker_metrics(breakers: Iterable[Breaker]) -> Iterable[Metric]:
    """State, changes and failures of breakers, by store."""
    state = GaugeMetricFamily(
        "sentra_breaker_state", "1 for the state that the breaker is in.", labels=["store", "state"]
    )
    entered = CounterMetricFamily(
        "sentra_breaker_changes", "Times that a state was entered.", labels=["store", "state"]
    )
    failed = CounterMetricFamily("sentra_store_failures", "Calls that were not answered.", labels=["store"])
    for breaker in breakers:
        failed.add_metric([breaker.name], breaker.failed_calls)
        for each in State:
            state.add_metric([breaker.name, each.value], float(breaker.state is each))
            entered.add_metric([breaker.name, each.value], breaker.changes[each])
    return state, entered, failed


def pricing_metrics(pool: PricingPool) -> Iterable[Metric]:
    """What each release did; the names are those of a run's metrics."""
    tallies = pool.tallies
    yield counters("sentra_release_events", "Events priced.", "release", {n: t.events for n, t in tallies.items()})
    yield counters("sentra_release_errors", "Requests failed.", "release", {n: t.errors for n, t in tallies.items()})
    checked = {name: tally.checked for name, tally in tallies.items()}
    wrong = {name: tally.wrong for name, tally in tallies.items()}
    yield counters("sentra_release_shadow_checked", "Events that stable priced too.", "release", checked)
    yield counters("sentra_release_shadow_wrong", "Of those, priced otherwise.", "release", wrong)
    cpu_s = {name: tally.cpu_ns / NS_PER_S for name, tally in tallies.items()}
    yield counters("sentra_release_cpu_seconds", "CPU time of pricing.", "release", cpu_s)
    yield gauges(
        "sentra_release_weight", "Share of the keys.", "release", {n: pool.weights.get(n, 0.0) for n in tallies}
    )


def fanout_metrics(edge: Sent) -> Iterable[Metric]:
    """What was sent to whom, and why some left."""
    yield counter("sentra_fanout_events", "Events sent, once each.", edge.events)
    yield counter("sentra_fanout_repeated_frames", "Frames that came again.", edge.repeated_frames)
    yield counter("sentra_fanout_slow_subscribers", "Subscribers cut for being slow.", edge.counts["closed_slow"])
    yield counter("sentra_fanout_connections", "Connections so far.", edge.counts["connections"])
    yield counter("sentra_fanout_resumptions", "Subscribers that came back.", edge.counts["resumed"])
    yield gauge("sentra_fanout_subscribers", "Subscribers now.", edge.subscribers)


def subscriber_metrics(deliveries: Delivered) -> Iterable[Metric]:
    """What arrived."""
    yield counter("sentra_subscriber_events", "Events delivered.", deliveries.events)
    yield counter("sentra_subscriber_duplicate_events", "Events delivered before.", deliveries.duplicates)
    yield counter("sentra_subscriber_gaps", "Gaps that the edge told of.", deliveries.gaps)
    yield counter("sentra_subscriber_reconnections", "Connections made again.", deliveries.reconnections)

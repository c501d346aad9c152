"""The dashboard asks for nothing that no process exposes."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from live_adapters.pipeline.config import RunConfig
from live_adapters.pipeline.edge.ingest import Offsets
from live_adapters.pipeline.fanout import Edge
from live_adapters.pipeline.hoplog import JOBS, PRICING_RELEASES, HopLog
from live_adapters.pipeline.ingress.intake import Intake
from live_adapters.pipeline.releases.pricingpool import PricingPool
from live_adapters.pipeline.stores.breaker import Breaker
from live_adapters.pipeline.subscriber import Deliveries
from live_adapters.pipeline.telemetry import families
from live_adapters.pipeline.telemetry.exposition import Collector, process_metrics, registry_of
from live_adapters.pipeline.telemetry.gclog import GcPauses
from live_adapters.pipeline.telemetry.observer import Observer
from live_adapters.pipeline.worker import Worker
from live_adapters.stack.clickhouse import Server
from sentra_sim.scenario import load_scenario
from tests.contract.grafana import dashboard, metric_names, queries

SCENARIO = load_scenario(Path(__file__).parents[2] / "data" / "scenarios" / "sentra.yaml")
ROWS = ["Traffic", "Latency against SLO", "Lag", "Stores", "Releases", "CPU"]


class Stub:
    """Stands for a connection that is not needed to count."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


def config(scratch: Path) -> RunConfig:
    places = {"kafka": "", "postgres_dsn": "", "redis_host": "", "clickhouse_host": ""}
    ports = dict.fromkeys(
        ("redis_port", "clickhouse_port", "gateway_port", "pricing_port", "fanout_port", "fanout_ingest_port"), 1
    )
    return RunConfig(SCENARIO, seed=1, warmup_s=0, load_s=1, topic="events-x", scratch=scratch, **places, **ports)  # type: ignore[arg-type]


def worker(run: RunConfig) -> Collector:
    stores: Any = Stub(
        ledger=None,
        quotes=None,
        downstream=(),
        hot=Stub(rebuilt=0),
        relay=Stub(published=0),
        postgres=Stub(retries=0),
        pricing=Stub(retries=0),
        breakers=lambda: [Breaker(name) for name in ("postgres", "pricing", "redis", "fanout", "clickhouse")],
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("live_adapters.pipeline.worker.Source", lambda *_: Stub(lag_by_partition=lambda: {0: 7}))
        made = Worker(run, stores, "worker-1")
    return lambda: families.worker_metrics(made.counters, made.source, stores)


def pricing(run: RunConfig) -> Collector:
    logs = HopLog(run.scratch, "pricing", "jobs", JOBS), HopLog(run.scratch, *PRICING_RELEASES)
    pool = PricingPool(1, *logs, run.releases)
    return lambda: families.pricing_metrics(pool)


def gateway(run: RunConfig) -> Collector:
    intake = Intake(run, Stub())
    return lambda: families.gateway_metrics(intake)


def fanout(run: RunConfig) -> Collector:
    edge = Edge(run, Offsets())
    return lambda: families.fanout_metrics(edge)


def subscriber(run: RunConfig) -> Collector:
    deliveries = Deliveries(run)
    return lambda: families.subscriber_metrics(deliveries)


PROCESSES: dict[str, Callable[[RunConfig], Collector]] = {
    "gateway": gateway,
    "worker": worker,
    "pricing": pricing,
    "fanout": fanout,
    "subscriber": subscriber,
    "observer": lambda run: Observer(run, None, 0.0).collect,
    "clickhouse": lambda run: Server(Stub(last_offsets=dict)).metrics,  # type: ignore[arg-type]
}


def exposed(scratch: Path) -> set[str]:
    """Names of all samples that the processes expose before anything has happened."""

    async def collect() -> list[Collector]:
        run = config(scratch)
        own = GcPauses(scratch, "any")
        return [*(make(run) for make in PROCESSES.values()), lambda: process_metrics(own)]

    async def text() -> str:
        # Each registry is a process': names need to be unique within one only.
        return "".join(generate_latest(registry_of([each])).decode() for each in await collect())

    families_found = text_string_to_metric_families(asyncio.run(text()))
    return {sample.name for family in families_found for sample in family.samples}


def test_every_panel_asks_for_metrics_that_a_process_exposes(tmp_path: Path) -> None:
    there = exposed(tmp_path)
    missing = {title: metric_names(query) - there for title, query in queries().items()}
    assert {title: names for title, names in missing.items() if names} == {}


def test_the_dashboard_can_be_imported_anywhere_and_shows_what_it_should() -> None:
    data = dashboard()
    assert [panel["title"] for panel in data["panels"] if panel["type"] == "row"] == ROWS
    assert [variable["type"] for variable in data["templating"]["list"]] == ["datasource", "query"]
    sources = {panel["datasource"]["uid"] for panel in data["panels"] if panel["type"] != "row"}
    assert sources == {"${datasource}"}
    assert len({panel["id"] for panel in data["panels"]}) == len(data["panels"])
    assert all(metric_names(query) for query in queries().values())


def test_a_name_is_found_wherever_it_stands_in_a_query() -> None:
    query = (
        'histogram_quantile(.95, sum by (le, hop) (rate(a_bucket{run=~"$run"}[$__rate_interval]))) / sum(b_total) > 3'
    )
    assert metric_names(query) == {"a_bucket", "b_total"}
    with pytest.raises(ValueError, match="must be PromQL"):
        metric_names("sum(a) ? 3")

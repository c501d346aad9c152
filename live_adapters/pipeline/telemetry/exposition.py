"""A process' `/metrics`: made when it is asked for, out of counters that are kept anyway. Nothing here is done per event.

OpenMetrics when the client accepts it, which carries exemplars; Prometheus' text format otherwise.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import psutil
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector as RegistryCollector
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from live_adapters.pipeline.telemetry.gclog import GcPauses
from sentra_sim.units import NS_PER_S

LOOPBACK = "127.0.0.1"
PORT_SUFFIX = ".metrics"  # `<scratch>/<process>.metrics` holds the port

Collector = Callable[[], Iterable[Metric]]


class _Collected(RegistryCollector):
    """A function as a registry wants it."""

    def __init__(self, collect: Collector) -> None:
        self._collect = collect

    def collect(self) -> Iterable[Metric]:
        """Returns the metrics as of now."""
        return self._collect()


class _Metrics(RequestHandler):
    def initialize(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def get(self) -> None:
        encode, content_type = choose_encoder(self.request.headers.get("Accept", ""))
        self.set_header("Content-Type", content_type)
        self.finish(encode(self._registry))


def registry_of(collectors: Iterable[Collector]) -> CollectorRegistry:
    """Returns a registry of these collectors; a name that two of them use is an error."""
    registry = CollectorRegistry(auto_describe=True)
    for collect in collectors:
        registry.register(_Collected(collect))
    return registry


def serve_metrics(port_file: Path, collectors: Iterable[Collector]) -> HTTPServer:
    """Serves `/metrics` on a loopback port that the kernel chooses, and writes it to `port_file`."""
    application = Application(
        [("/metrics", _Metrics, {"registry": registry_of(collectors)})], log_function=lambda handler: None
    )
    (socket,) = bind_sockets(0, LOOPBACK)
    server = HTTPServer(application)
    server.add_sockets([socket])
    part = port_file.with_suffix(".metrics-part")
    part.write_text(f"{socket.getsockname()[1]}\n", encoding="ascii")
    part.replace(port_file)
    return server


def process_metrics(pauses: GcPauses) -> Iterable[Metric]:
    """Returns what every process tells of itself, by the names that Prometheus clients use."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    switches = {"voluntary": used.ru_nvcsw, "involuntary": used.ru_nivcsw}
    yield counter("process_cpu_seconds", "CPU time, user and system.", time.process_time())
    yield gauge("process_resident_memory_bytes", "Resident memory.", psutil.Process().memory_info().rss)
    yield counters("process_context_switches", "Context switches.", "kind", switches)
    yield counter("python_gc_collections", "Garbage collections.", pauses.collections)
    yield counter("python_gc_pause_seconds", "Time spent in garbage collections.", pauses.paused_ns / NS_PER_S)


def counter(name: str, text: str, value: float) -> Metric:
    """Returns a counter; its sample is called `<name>_total`."""
    return CounterMetricFamily(name, text, value=value)


def counters(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    """Returns a counter with one label."""
    family = CounterMetricFamily(name, text, labels=[label])
    for value, count in values.items():
        family.add_metric([value], count)
    return family


def gauge(name: str, text: str, value: float) -> Metric:
    """Returns a gauge."""
    return GaugeMetricFamily(name, text, value=value)


def gauges(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    """Returns a gauge with one label."""
    family = GaugeMetricFamily(name, text, labels=[label])
    for value, number in values.items():
        family.add_metric([value], number)
    return family

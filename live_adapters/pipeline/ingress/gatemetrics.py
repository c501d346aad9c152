"""The gateway's counters as Prometheus text. Labels are bounded: reasons are a fixed set, tenants those of the scenario."""

from __future__ import annotations

from collections.abc import Mapping

from live_adapters.pipeline.ingress.gatestate import GateState
from live_adapters.pipeline.ingress.reasons import REASONS

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def metrics_text(state: GateState, in_flight_events: int) -> str:
    """Returns every metric of the gateway in Prometheus' text format."""
    reasons = [reason.value for reason in REASONS]
    tenants = {
        "unknown" if tenant == len(state.refused_by_tenant) - 1 else str(tenant): count
        for tenant, count in enumerate(state.refused_by_tenant.tolist())
    }
    families = (
        _single("received_events_total", "counter", "Events read.", state.received_events),
        _single("acked_events_total", "counter", "Events that Kafka has acknowledged.", state.acked_events),
        _labelled("refused_events_total", "Events refused.", "reason", _all(reasons, state.refused.by_reason)),
        _labelled(
            "refused_messages_total", "Messages refused as a whole.", "reason", _all(reasons, state.refused_messages)
        ),
        _labelled("refused_streams_total", "Calls refused at their start.", "reason", state.refused_streams),
        _labelled("refused_tenant_events_total", "Single events refused.", "tenant", tenants),
        _labelled("refused_rest_requests_total", "REST requests refused.", "reason", state.refused_rest),
        _single("in_flight_events", "gauge", "Events taken and not yet acknowledged.", in_flight_events),
        _single("open_streams", "gauge", "gRPC streams going on.", state.open_streams),
        _single("ready", "gauge", "1 when new streams are taken.", int(state.ready)),
    )
    return "".join(families)


def _all(names: list[str], counts: Mapping[str, int]) -> dict[str, int]:
    """Shows what has not happened yet as zero, so that a rate of it exists from the start."""
    return {name: counts.get(name, 0) for name in names}


def _single(name: str, kind: str, text: str, value: int) -> str:
    return f"{_head(name, kind, text)}sentra_gateway_{name} {value}\n"


def _labelled(name: str, text: str, label: str, counts: Mapping[str, int]) -> str:
    rows = [f'sentra_gateway_{name}{{{label}="{value}"}} {count}\n' for value, count in counts.items()]
    return _head(name, "counter", text) + "".join(rows)


def _head(name: str, kind: str, text: str) -> str:
    return f"# HELP sentra_gateway_{name} {text}\n# TYPE sentra_gateway_{name} {kind}\n"

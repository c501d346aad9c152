"""One frame's spans: from its hops, as OpenTelemetry's messaging conventions name them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sentra_sim.records.traceids import span_id, trace_id

# Names hold the destination's template, not the run's own topic: as many names as hops, whatever the number of runs.
EVENTS, SUBSCRIBERS = "events", "subscribers"
LINKED_EVENTS = 3  # a batch span links the creation of its first, middle and last event
CREATED = "create events"


@dataclass(frozen=True)
class Hop:
    """A kind of span: its name, OpenTelemetry's span kind, the process, and the marks of a frame that it lies between."""

    name: str
    kind: str
    process: str
    start: str
    end: str
    parent: str | None
    attributes: Mapping[str, str]


def _messaging(kind: str, operation: str, destination: str = EVENTS, system: str = "kafka") -> dict[str, str]:
    return {
        "messaging.system": system,
        "messaging.operation.name": operation,
        "messaging.operation.type": kind,
        "messaging.destination.template": destination,
    }


def _store(system: str, operation: str) -> dict[str, str]:
    return {"db.system.name": system, "db.operation.name": operation}


SEND, PROCESS, FANOUT = f"send {EVENTS}", f"process {EVENTS}", f"send {SUBSCRIBERS}"
HOPS = (
    Hop(SEND, "PRODUCER", "gateway", "received", "acked", None, _messaging("send", "send")),
    Hop(f"poll {EVENTS}", "CONSUMER", "worker", "acked", "started", SEND, _messaging("receive", "poll")),
    Hop(PROCESS, "CONSUMER", "worker", "started", "worked", SEND, _messaging("process", "process")),
    Hop("price", "CLIENT", "worker", "started", "priced", PROCESS, {"rpc.system": "sentra", "rpc.service": "pricing"}),
    Hop("COMMIT postgres", "CLIENT", "worker", "priced", "committed", PROCESS, _store("postgresql", "COMMIT")),
    Hop("EVALSHA redis", "CLIENT", "worker", "committed", "redis", PROCESS, _store("redis", "EVALSHA")),
    Hop("INSERT fills", "CLIENT", "clickhouse", "committed", "clickhouse", PROCESS, _store("clickhouse", "INSERT")),
    Hop(
        FANOUT, "PRODUCER", "fanout", "committed", "sent", PROCESS, _messaging("send", "send", SUBSCRIBERS, "websocket")
    ),
    Hop(
        f"receive {SUBSCRIBERS}",
        "CONSUMER",
        "subscriber",
        "sent",
        "delivered",
        FANOUT,
        _messaging("receive", "receive", SUBSCRIBERS, "websocket"),
    ),
)


@dataclass(frozen=True)
class Span:
    """A finished span; times in monotonic ns. `links` are (trace id, span id) of what led to it."""

    name: str
    kind: str
    process: str
    trace_id: str
    span_id: str
    parent_id: str | None
    start_ns: int
    end_ns: int
    attributes: Mapping[str, str | int] = field(default_factory=dict)
    links: tuple[tuple[str, str], ...] = ()


def frame_spans(run: str, frame: int, events: int, marks: Mapping[str, int], intended: list[int]) -> list[Span]:
    """Returns the spans of a frame, parents first, and those of the linked events' creation.

    Args:
        run: Kafka's topic, which is the run's own; trace ids are derived from it and the frame.
        frame: The frame's id, its partition in its upper bits.
        events: How many it carries.
        marks: Time of each hop, monotonic ns; a hop that is missing leaves out its span.
        intended: Send times of its events, monotonic ns: an event is created when it is due.
    """
    marks = {**marks, "worked": max(marks.get("committed", 0), marks.get("redis", 0))}
    creations = [
        _creation(run, frame, number, intended[number], marks["received"]) for number in _linked(len(intended))
    ]
    common: dict[str, str | int] = {
        "messaging.destination.name": run,
        "messaging.batch.message_count": events,
        "sentra.frame": frame,
    }
    spans = []
    for hop in HOPS:
        start, end = marks.get(hop.start, 0), marks.get(hop.end, 0)
        if not (start and end):
            continue
        spans.append(
            Span(
                name=hop.name,
                kind=hop.kind,
                process=hop.process,
                trace_id=trace_id(run, frame),
                span_id=span_id(run, frame, hop.name),
                parent_id=span_id(run, frame, hop.parent) if hop.parent else None,
                start_ns=min(start, end),  # who holds a frame proves that it was sent, whenever the sender noted it
                end_ns=end,
                attributes={**hop.attributes, **common},
                links=tuple((each.trace_id, each.span_id) for each in creations) if hop.kind != "CLIENT" else (),
            )
        )
    return [*creations, *spans] if spans else []


def _linked(events: int) -> list[int]:
    return sorted({0, events // 2, events - 1})[:LINKED_EVENTS] if events else []


def _creation(run: str, frame: int, number: int, intended_ns: int, received_ns: int) -> Span:
    event = f"{frame}/{number + 1}"
    return Span(
        name=CREATED,
        kind="PRODUCER",
        process="generator",
        trace_id=trace_id(f"{run} {event}", frame),
        span_id=span_id(run, frame, event),
        parent_id=None,
        start_ns=intended_ns,
        end_ns=max(intended_ns, received_ns),
        attributes={**_messaging("create", "create"), "sentra.event": event},
    )

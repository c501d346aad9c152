"""The description of the gateway's REST control that `GET /openapi.json` serves."""

from __future__ import annotations

from typing import Any

MAX_DELAY_S = 5.0

_SHARE = {"type": "number", "minimum": 0, "maximum": 1}
_SCHEMAS: dict[str, Any] = {
    "Health": {"type": "object", "required": ["status"], "properties": {"status": {"const": "ok"}}},
    "Readiness": {
        "type": "object",
        "required": ["ready", "draining", "open_streams", "in_flight_events"],
        "properties": {
            "ready": {"type": "boolean"},
            "draining": {"type": "boolean"},
            "open_streams": {"type": "integer", "minimum": 0},
            "in_flight_events": {"type": "integer", "minimum": 0},
        },
    },
    "ReleaseWeights": {
        "type": "object",
        "description": "Share of keys by release: stable and at most one canary; the shares sum to 1.",
        "minProperties": 1,
        "additionalProperties": _SHARE,
    },
    "Chaos": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "refuse": {"type": "boolean", "description": "Every message is refused."},
            "delay_s": {"type": "number", "minimum": 0, "maximum": MAX_DELAY_S},
        },
    },
    "Error": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}},
}


def describe() -> dict[str, Any]:
    """Returns the OpenAPI document."""
    paths = {
        "/health": {"get": _operation("The process answers.", {"200": "Health"})},
        "/ready": {"get": _operation("Whether new streams are taken.", {"200": "Readiness", "503": "Readiness"})},
        "/metrics": {"get": _operation("Counters for Prometheus.", {"200": None})},
        "/openapi.json": {"get": _operation("This document.", {"200": None})},
        "/drain": {"post": _operation("Take no new streams, finish the open ones, end.", {"202": "Readiness"})},
        "/release-weights": {
            "get": _operation("Shares of the releases.", {"200": "ReleaseWeights", "503": "Error"}),
            "put": _operation(
                "Set them.", {"200": "ReleaseWeights", "400": "Error", "503": "Error"}, body="ReleaseWeights"
            ),
        },
        "/chaos": {
            "get": _operation("Faults switched on.", {"200": "Chaos", "403": "Error"}),
            "put": _operation("Switch them.", {"200": "Chaos", "400": "Error", "403": "Error"}, body="Chaos"),
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Sentra gateway control", "version": "1"},
        "paths": paths,
        "components": {"schemas": _SCHEMAS},
    }


def _operation(summary: str, answers: dict[str, str | None], body: str | None = None) -> dict[str, Any]:
    responses = {
        code: {"description": schema or "See the summary."} | ({"content": _content(schema)} if schema else {})
        for code, schema in answers.items()
    }
    operation: dict[str, Any] = {"summary": summary, "responses": responses}
    if body:
        operation["requestBody"] = {"required": True, "content": _content(body)}
    return operation


def _content(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}

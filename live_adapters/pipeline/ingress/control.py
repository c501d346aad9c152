"""The gateway's REST control, on a loopback port of its own: health, drain, metrics, release weights, chaos."""

from __future__ import annotations

import json
import logging
import math
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from tornado.httpserver import HTTPServer
from tornado.web import Application, HTTPError, RequestHandler

from live_adapters.pipeline.config import RunConfig
from live_adapters.pipeline.ingress.gatemetrics import CONTENT_TYPE, metrics_text
from live_adapters.pipeline.ingress.gatestate import Chaos, GateState
from live_adapters.pipeline.ingress.openapi import MAX_DELAY_S, describe
from live_adapters.pipeline.releases.pricingclient import PricingClient
from sentra_sim.errors import InputError, PlantError

MAX_BODY_BYTES = 1 << 16
MAX_HEADER_BYTES = 1 << 14
IDLE_S = 30.0
# Why requests are refused, by the status of the answer.
REFUSED = {400: "body", 403: "forbidden", 404: "not_found", 405: "method"}
MALFORMED = "malformed_http"
LOOPBACK_NAMES = {"127.0.0.1", "localhost", "::1"}


class _Handler(RequestHandler):
    """What all routes share: JSON answers, and refusals that are one line and counted."""

    def initialize(self, state: GateState, in_flight_events: Callable[[], int], config: RunConfig) -> None:
        self.state, self.in_flight_events = state, in_flight_events
        self.pricing, self.chaos_enabled = (config.host, config.pricing_port), config.gateway_rules.chaos

    def prepare(self) -> None:
        """Refuses what a page in a browser might send: the port is for processes of this machine."""
        host = urlsplit(f"//{self.request.headers.get('Host', '127.0.0.1')}").hostname
        if "Origin" in self.request.headers or host not in LOOPBACK_NAMES:
            raise HTTPError(403, reason="a request must name a loopback host and no origin")

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answers a refusal as JSON and counts it."""
        self.state.refused_rest[REFUSED.get(status_code, f"status_{status_code}")] += 1
        error = kwargs.get("exc_info", (None, None, None))[1]
        detail = str(error.__cause__) if isinstance(error, HTTPError) and error.__cause__ else self._reason
        self.finish({"error": detail})

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Logs only what is nobody's fault but the gateway's."""
        if not isinstance(value, HTTPError):
            super().log_exception(typ, value, tb)

    def json_body(self) -> object:
        """Returns the body as JSON.

        Raises:
            HTTPError: it is none.
        """
        try:
            return json.loads(self.request.body)
        except (ValueError, RecursionError) as error:
            raise _bad_body(InputError(f"body: must be JSON, got {type(error).__name__}; see /openapi.json")) from None


def _bad_body(error: InputError) -> HTTPError:
    refusal = HTTPError(400)
    refusal.__cause__ = error
    return refusal


class _NotFound(_Handler):
    def prepare(self) -> None:
        raise HTTPError(404)


class _Health(_Handler):
    def get(self) -> None:
        self.finish({"status": "ok"})


class _Ready(_Handler):
    def get(self) -> None:
        self.answer(200 if self.state.ready else 503)

    def answer(self, status: int) -> None:
        self.set_status(status)
        self.finish(
            {
                "ready": self.state.ready,
                "draining": self.state.draining,
                "open_streams": self.state.open_streams,
                "in_flight_events": self.in_flight_events(),
            }
        )


class _Drain(_Ready):
    def get(self) -> None:
        raise HTTPError(405)

    def post(self) -> None:
        self.state.draining = True
        self.state.drain_asked.set()
        self.answer(202)


class _Metrics(_Handler):
    def get(self) -> None:
        self.set_header("Content-Type", CONTENT_TYPE)
        self.finish(metrics_text(self.state, self.in_flight_events()))


class _OpenApi(_Handler):
    def get(self) -> None:
        self.finish(describe())


class _Weights(_Handler):
    """The pricing service holds the weights and checks them; what it refuses is refused here in its words."""

    async def get(self) -> None:
        await self.answer(None)

    async def put(self) -> None:
        weights = self.json_body()
        if not isinstance(weights, dict):
            raise _bad_body(
                InputError("weights: must be an object of shares by release, got another; see /openapi.json")
            )
        await self.answer(weights)

    async def answer(self, weights: dict[str, Any] | None) -> None:
        try:
            client = await PricingClient.open(*self.pricing)
            try:
                if weights is not None:
                    await client.set_weights(weights)
                self.finish((await client.status())["weights"])
            finally:
                client.close()
        except InputError as error:
            raise _bad_body(error) from error
        except PlantError as error:
            raise HTTPError(503) from error


class _Chaos(_Handler):
    def prepare(self) -> None:
        super().prepare()
        if not self.chaos_enabled:
            raise HTTPError(403) from InputError(
                "chaos: must be enabled in the gateway's rules, got chaos=False; start the gateway with chaos=True"
            )

    def get(self) -> None:
        self.finish({"refuse": self.state.chaos.refuse, "delay_s": self.state.chaos.delay_s})

    def put(self) -> None:
        try:
            self.state.chaos = parse_chaos(self.json_body())
        except InputError as error:
            raise _bad_body(error) from error
        self.get()


def parse_chaos(data: object) -> Chaos:
    """Reads the body of `PUT /chaos`; what it leaves out is switched off.

    Raises:
        InputError: it is none.
    """
    if not isinstance(data, dict) or (set(data) - {"refuse", "delay_s"}):
        raise InputError("chaos: must be an object with refuse and delay_s, got something else; see /openapi.json")
    refuse, delay_s = data.get("refuse", False), data.get("delay_s", 0.0)
    if not isinstance(refuse, bool):
        raise InputError(f"chaos.refuse: must be true or false, got {type(refuse).__name__}; write one of them")
    number = isinstance(delay_s, int | float) and not isinstance(delay_s, bool)
    if not (number and 0 <= delay_s <= MAX_DELAY_S and math.isfinite(delay_s)):
        raise InputError(
            f"chaos.delay_s: must be 0 to {MAX_DELAY_S:g} seconds, got {str(delay_s)[:30]}; write a number"
        )
    return Chaos(refuse, float(delay_s))


class _CountMalformed(logging.Filter):
    """Counts requests that are no HTTP: tornado answers these itself, with 400, and tells only its log."""

    def __init__(self, counts: Counter[str]) -> None:
        super().__init__()
        self._counts = counts

    def filter(self, record: logging.LogRecord) -> bool:
        """Counts and keeps out of the log what a client sent wrong."""
        if not str(record.msg).startswith("Malformed HTTP message"):
            return True
        self._counts[MALFORMED] += 1
        return False


ROUTES: dict[str, type[_Handler]] = {
    "/health": _Health,
    "/ready": _Ready,
    "/metrics": _Metrics,
    "/openapi.json": _OpenApi,
    "/drain": _Drain,
    "/release-weights": _Weights,
    "/chaos": _Chaos,
}


def start_control(config: RunConfig, state: GateState, in_flight_events: Callable[[], int]) -> HTTPServer:
    """Serves the control on `config.gateway_control_port`; on none when that is 0.

    Raises:
        PlantError: the port is taken.
    """
    given = {"state": state, "in_flight_events": in_flight_events, "config": config}
    application = Application(
        [(path, handler, given) for path, handler in ROUTES.items()],
        default_handler_class=_NotFound,
        default_handler_args=given,
        log_function=lambda handler: None,
    )
    logger = logging.getLogger("tornado.general")
    logger.setLevel(logging.INFO)
    logger.addFilter(_CountMalformed(state.refused_rest))
    server = HTTPServer(
        application,
        max_body_size=MAX_BODY_BYTES,
        max_header_size=MAX_HEADER_BYTES,
        idle_connection_timeout=IDLE_S,
        body_timeout=IDLE_S,
    )
    if config.gateway_control_port:
        try:
            server.listen(config.gateway_control_port, config.host)
        except OSError as error:
            place = f"{config.host}:{config.gateway_control_port}"
            raise PlantError(f"gateway control: {place} must be a free port, got {error}; choose another") from None
    return server

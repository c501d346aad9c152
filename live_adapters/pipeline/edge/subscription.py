"""What a request to the edge asks for, once its token allows it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus

from live_adapters.pipeline.edge.httphead import Request, bad
from live_adapters.pipeline.edge.position import Position, parse_position
from live_adapters.pipeline.edge.refusal import RefusedError
from live_adapters.pipeline.tokens import MAX_TENANT, Grant, TokenError, read_token

WEBSOCKET_PATH, EVENTS_PATH = "/ws", "/events"
PARAMETERS = frozenset({"tenants", "token", "from", "gap"})
_TENANTS = re.compile(r"\d{1,10}(?:,\d{1,10})*", re.ASCII)


@dataclass(frozen=True)
class Subscription:
    """Tenants (None for all), from which position on (None: from now), and until when (Unix seconds).

    `skip_gap` asks for what is left, after a message that names the gap, where the edge no longer holds everything.
    """

    tenants: frozenset[int] | None
    since: Position | None
    skip_gap: bool
    expires_at: float


def subscription(request: Request, secret: str, now_s: float) -> Subscription:
    """Reads a request for `/ws` or `/events`.

    Raises:
        RefusedError: 404 another path, 401 or 403 what the token does not allow, 400 what is not in form.
    """
    if request.path not in (WEBSOCKET_PATH, EVENTS_PATH):
        raise RefusedError(
            HTTPStatus.NOT_FOUND,
            "path",
            f"path: must be {WEBSOCKET_PATH} or {EVENTS_PATH}, got {request.path[:60]!r}; see docs/edge.md",
        )
    try:
        grant = read_token(secret, _token(request), now_s)
    except TokenError as error:
        raise RefusedError(HTTPStatus.UNAUTHORIZED, error.reason, str(error)) from None
    unknown = sorted(set(request.query) - PARAMETERS)
    if unknown:
        raise bad("query", f"query: must be of {', '.join(sorted(PARAMETERS))}, got {unknown[0][:60]!r}; leave it out")
    gap = request.query.get("gap", "refuse")
    if gap not in ("refuse", "skip"):
        raise bad("query", f"gap: must be refuse or skip, got {gap[:60]!r}; leave it out")
    return Subscription(_allowed(request, grant), _since(request), gap == "skip", grant.expires_at)


def _token(request: Request) -> str:
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    return credentials.strip() if scheme.lower() == "bearer" else request.query.get("token", "")


def _allowed(request: Request, grant: Grant) -> frozenset[int] | None:
    text = request.query.get("tenants")
    if text is None:
        return grant.tenants
    if not _TENANTS.fullmatch(text):
        raise bad("tenants", f"tenants: must be numbers joined by commas, got {text[:60]!r}; write tenants=0,1")
    tenants = frozenset(int(number) for number in text.split(","))
    if max(tenants) > MAX_TENANT:
        raise bad("tenants", f"tenants: must be at most {MAX_TENANT}, got {max(tenants)}; name tenants of the run")
    foreign = set() if grant.tenants is None else tenants - grant.tenants
    if foreign:
        raise RefusedError(
            HTTPStatus.FORBIDDEN,
            "tenant_foreign",
            f"tenants: must be those of the token, got {min(foreign)}; ask for a token that names it",
        )
    return tenants


def _since(request: Request) -> Position | None:
    # A browser repeats the first URL when it connects again: what it has seen since is in the header.
    text = request.headers.get("last-event-id") or request.query.get("from")
    if not text:
        return None
    try:
        return parse_position(text)
    except ValueError as error:
        raise bad("position", f"from: {error}; give the last id as it was received") from None

"""Tokens that name tenants, signed with a secret (HMAC-SHA256, RFC 2104): whose prices may be read, or whose events be sent.

A token is `<claims>.<signature>`, both base64url without padding; the claims are `{"tenants": [0, 1] or null, "expires_at": s}`,
null for every tenant, the time in Unix seconds. `mint.py` prints one.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from sentra_sim.errors import PlantError

METADATA_KEY = "sentra-token"  # of a gRPC call to the gateway
MAX_TOKEN_CHARACTERS = 8192
MAX_TENANT = 2**32 - 1


class TokenError(PlantError):
    """A token allows nothing. `reason` is a counter's name."""

    def __init__(self, reason: str, line: str) -> None:
        super().__init__(line)
        self.reason = reason


@dataclass(frozen=True)
class Grant:
    """What a valid token allows: the tenants, None for all, until `expires_at` (Unix seconds)."""

    tenants: frozenset[int] | None
    expires_at: float


def new_secret() -> str:
    """Returns the secret of a run."""
    return secrets.token_hex(32)


def mint_token(secret: str, tenants: Iterable[int] | None, expires_at: float) -> str:
    """Returns a token that names these tenants (None: all) and holds until `expires_at`, Unix seconds.

    >>> read_token("s", mint_token("s", [2, 1], 10.0), now_s=9.0).tenants == {1, 2}
    True
    """
    named = None if tenants is None else sorted(set(tenants))
    claims = _encode(json.dumps({"tenants": named, "expires_at": expires_at}).encode())
    return f"{claims}.{_sign(secret, claims)}"


def read_token(secret: str, token: str, now_s: float) -> Grant:
    """Returns what a token allows.

    Raises:
        TokenError: no token, not in form, signed with another secret, or expired.
    """
    if not token:
        raise _refused("token_missing", "must be given, got none; add token=... or an Authorization: Bearer header")
    claims, dot, signature = token.partition(".")
    if not dot or len(token) > MAX_TOKEN_CHARACTERS or not token.isascii():
        raise _refused("token_malformed", "must be claims.signature, got another form; mint one for this run")
    if not hmac.compare_digest(signature, _sign(secret, claims)):
        raise _refused("token_wrong", "must be signed for this run, got another signature; mint one for this run")
    grant = _grant(claims)
    if now_s >= grant.expires_at:
        raise _refused("token_expired", f"must not have expired, got {grant.expires_at:.0f}; mint a new one")
    return grant


def _grant(claims: str) -> Grant:
    """Reads claims whose signature is right: the secret's owner may still have signed nonsense."""
    try:
        data = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
        tenants = None if data["tenants"] is None else frozenset(int(number) for number in data["tenants"])
        return Grant(tenants, float(data["expires_at"]))
    except (ValueError, TypeError, KeyError, OverflowError):
        raise _refused("token_malformed", "must hold tenants and expires_at, got others; use mint_token") from None


def _sign(secret: str, claims: str) -> str:
    return _encode(hmac.new(secret.encode(), claims.encode(), hashlib.sha256).digest())


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _refused(reason: str, rest: str) -> TokenError:
    return TokenError(reason, f"token: {rest}")

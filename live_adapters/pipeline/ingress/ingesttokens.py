"""Tenants' tokens: `TENANT.HEX`, where HEX is the HMAC-SHA256 of the tenant's number under the gateway's secret."""

from __future__ import annotations

import hashlib
import hmac

METADATA_KEY = "sentra-token"  # of a gRPC call, once for each tenant


def make_token(secret: str, tenant: int) -> str:
    """Returns a tenant's token.

    >>> make_token("s", 3)[:10]
    '3.5279fe13'
    """
    return f"{tenant}.{hmac.new(secret.encode(), f'tenant:{tenant}'.encode(), hashlib.sha256).hexdigest()}"


def tenant_of_token(secret: str, token: str) -> int | None:
    """Returns whose token it is, None for one that was not made with this secret."""
    number, _, _ = token.partition(".")
    if not (number.isascii() and number.isdigit() and len(number) <= 10 and token.isascii()):
        return None
    return int(number) if hmac.compare_digest(make_token(secret, int(number)), token) else None

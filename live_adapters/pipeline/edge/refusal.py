"""Why the edge turns a request away: an HTTP status, a reason that is counted, one line for the client."""

from __future__ import annotations

import json
from http import HTTPStatus

from sentra_sim.errors import PlantError

RETRY_AFTER_S = 1


class RefusedError(PlantError):
    """The edge refuses a request. `reason` is a counter's name, the message is the answer's one line."""

    def __init__(self, status: HTTPStatus, reason: str, line: str) -> None:
        super().__init__(line)
        self.status = status
        self.reason = reason

    def response(self) -> bytes:
        """Returns the HTTP answer, after which the connection is closed."""
        body = json.dumps({"reason": self.reason, "error": str(self)}).encode() + b"\n"
        head = [
            f"HTTP/1.1 {self.status.value} {self.status.phrase}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            "Connection: close",
        ]
        if self.status == HTTPStatus.UNAUTHORIZED:
            head.append('WWW-Authenticate: Bearer realm="sentra"')
        if self.status == HTTPStatus.SERVICE_UNAVAILABLE:
            head.append(f"Retry-After: {RETRY_AFTER_S}")
        return "\r\n".join(head).encode() + b"\r\n\r\n" + body

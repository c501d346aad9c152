"""Server-sent events (WHATWG HTML, section 9.2): the answer's head, and its blocks.

The data of a price event is the binary message of `broadcast.py` in base64, not JSON: there is one format to read whatever
the transport, and encoding costs the same whether a poll holds ten events or a thousand.
"""

from __future__ import annotations

import base64

HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n"
    b"Access-Control-Allow-Origin: *\r\nX-Accel-Buffering: no\r\nConnection: close\r\n\r\n"
)
HEARTBEAT = b": alive\n\n"


def prices_event(identity: str, message: bytes) -> bytes:
    """Returns a tenant's message of a poll as an event with its resumable id."""
    return b"id: " + identity.encode() + b"\ndata: " + base64.b64encode(message) + b"\n\n"


def start_event(identity: str) -> bytes:
    """Returns what a stream begins with: the id from which it is complete."""
    return f"id: {identity}\nevent: start\ndata: {identity}\n\n".encode()


def named_event(name: str, line: str) -> bytes:
    """Returns an event that says something about the stream itself."""
    return f"event: {name}\ndata: {line}\n\n".encode()

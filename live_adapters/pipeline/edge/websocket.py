"""The server's half of WebSocket (RFC 6455) that a broadcast needs: the handshake, its own frames, a client's control frames."""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from collections.abc import Iterator
from http import HTTPStatus

from live_adapters.pipeline.edge.httphead import Request
from live_adapters.pipeline.edge.refusal import RefusedError

PROTOCOL_ERROR, UNSUPPORTED_DATA, GOING_AWAY = 1002, 1003, 1001
TOO_SLOW, TOKEN_EXPIRED = 4408, 4401  # private codes, after the HTTP statuses of the same meaning
CLOSE, PING, PONG = 0x8, 0x9, 0xA
_TEXT, _BINARY, _FINAL = 0x1, 0x2, 0x80
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MAX_CONTROL_BYTES = 125
_MASK = 0x80


class ClientError(ValueError):
    """A client breaks the protocol; `code` is the close code that says how."""

    def __init__(self, code: int, line: str) -> None:
        super().__init__(line)
        self.code = code


def accept(request: Request) -> bytes:
    """Returns the answer that opens the connection (section 4.2.2).

    Raises:
        RefusedError: 426 for a plain request or another version, 400 for a key that is none.
    """
    headers = request.headers
    asked = headers.get("upgrade", "").lower() == "websocket" and "upgrade" in headers.get("connection", "").lower()
    if not asked or headers.get("sec-websocket-version") != "13":
        raise RefusedError(
            HTTPStatus.UPGRADE_REQUIRED,
            "upgrade",
            "upgrade: must ask for WebSocket version 13, got a request that does not; use a client, or /events",
        )
    key = headers.get("sec-websocket-key", "")
    if not _is_key(key):
        raise RefusedError(
            HTTPStatus.BAD_REQUEST, "upgrade", f"Sec-WebSocket-Key: must be 16 bytes, got {key[:40]!r}; use a client"
        )
    digest = base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + digest + b"\r\n\r\n"
    )


def binary_frame(message: bytes) -> bytes:
    """Returns a binary message as one unmasked frame, as servers send it."""
    return _frame(_BINARY, message)


def text_frame(text: str) -> bytes:
    """Returns a text message as one frame."""
    return _frame(_TEXT, text.encode())


def pong_frame(payload: bytes) -> bytes:
    """Returns the answer to a ping."""
    return _frame(PONG, payload)


def close_frame(code: int, why: str = "") -> bytes:
    """Returns a close frame with its code and a reason, which is cut to what a control frame holds."""
    return _frame(CLOSE, code.to_bytes(2, "big") + why.encode()[: _MAX_CONTROL_BYTES - 2])


def payload_of(frame: bytes) -> bytes:
    """Returns the message of a frame that `binary_frame` made."""
    return frame[{126: 4, 127: 10}.get(frame[1], 2) :]


class ControlFrames:
    """Cuts what a client sends into control frames, however it arrives. Subscribers send nothing else."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yields opcode and payload of each frame that is complete.

        Raises:
            ClientError: a data frame, or one that no client may send.
        """
        self._rest += data
        while len(self._rest) >= 2:
            size = _control_size(self._rest[0], self._rest[1])
            end = 6 + size
            if len(self._rest) < end:
                return
            frame, self._rest = self._rest[:end], self._rest[end:]
            mask, payload = frame[2:6], frame[6:]
            yield frame[0] & 0x0F, bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


def _control_size(first: int, second: int) -> int:
    opcode, size = first & 0x0F, second & ~_MASK
    if opcode < CLOSE:
        raise ClientError(UNSUPPORTED_DATA, "subscribers send no data")
    if opcode > PONG or first & 0xF0 != _FINAL or not second & _MASK or size > _MAX_CONTROL_BYTES:
        raise ClientError(PROTOCOL_ERROR, "control frames are final, masked and short")
    return size


def _is_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == 16
    except (binascii.Error, ValueError):
        return False


def _frame(opcode: int, payload: bytes) -> bytes:
    length = len(payload)
    if length <= _MAX_CONTROL_BYTES:
        return bytes((_FINAL | opcode, length)) + payload
    if length < 1 << 16:
        return struct.pack(">BBH", _FINAL | opcode, 126, length) + payload
    return struct.pack(">BBQ", _FINAL | opcode, 127, length) + payload

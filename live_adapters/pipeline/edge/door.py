"""Where subscribers come in: reads the head of a request, lets it in as WebSocket or event stream, or says why not."""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus
from typing import Protocol, cast

from live_adapters.pipeline.edge import httphead, websocket
from live_adapters.pipeline.edge.readers import EventReader, Reader, WebSocketReader
from live_adapters.pipeline.edge.refusal import RefusedError
from live_adapters.pipeline.edge.subscription import WEBSOCKET_PATH, subscription

HEAD_S = 5.0  # that a client has to send the head of its request
REST_S = 1.0  # that a refused client has to read why


class House(Protocol):
    """What a door leads into."""

    secret: str

    def knock(self, door: Door) -> bool:
        """Counts a connection; False when there are too many."""

    def admit(self, door: Door, reader: Reader) -> None:
        """Lets a reader in, now or once the edge holds what it asks for; raises RefusedError."""

    def leave(self, door: Door) -> None:
        """Forgets a connection that is gone."""

    def count(self, reason: str) -> None:
        """Counts a refusal or an end."""


class Door(asyncio.Protocol):
    """One connection to the edge's port."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._head: bytes | None = b""  # so far; None once it was whole, or refused
        self._transport: asyncio.Transport | None = None
        self._late: asyncio.TimerHandle | None = None
        self.reader: Reader | None = None  # once it was let in

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Waits a while for the request."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not derive from it
        if not self._house.knock(self):
            self.refuse(
                RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, "full", "edge: must have room, got too many; come later")
            )
            return
        self._late = asyncio.get_running_loop().call_later(HEAD_S, self._head_is_late)

    def data_received(self, data: bytes) -> None:
        """Takes bytes of the request, then what a subscriber sends; a client that breaks a rule is told so and left."""
        if self._transport is None or self._transport.is_closing():
            return
        try:
            if self.reader is not None:
                self.reader.receive(data)
            elif self._head is not None:
                self._read(data)
        except RefusedError as refusal:
            self.refuse(refusal)
        except websocket.ClientError as error:
            self._house.count("closed_protocol")
            if self.reader is not None:
                self.reader.end(error.code, str(error))
            self._house.leave(self)

    def eof_received(self) -> bool:
        """Closes: nobody subscribes with half a connection."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Leaves."""
        if self._late is not None:
            self._late.cancel()
        if self._head:
            self._house.count("refused_cut_off")
        self._house.leave(self)

    def refuse(self, refusal: RefusedError) -> None:
        """Answers why not, and closes."""
        self._head = None
        self._house.count(f"refused_{refusal.reason}")
        self._house.leave(self)
        assert self._transport is not None
        if not self._transport.is_closing():
            self._transport.write(refusal.response())
            self._transport.close()
            asyncio.get_running_loop().call_later(REST_S, self._transport.abort)

    def _read(self, data: bytes) -> None:
        assert self._head is not None
        head, end, rest = (self._head + data).partition(httphead.END)
        if len(head) > httphead.MAX_HEAD_BYTES:
            raise RefusedError(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                "head_too_long",
                f"request: its head must have at most {httphead.MAX_HEAD_BYTES} bytes, got more; subscribe to fewer tenants",
            )
        self._head = head
        if not end:
            return
        self._head = None
        if self._late is not None:
            self._late.cancel()
        self._enter(httphead.parse_head(head))
        if rest:
            self.data_received(rest)

    def _enter(self, request: httphead.Request) -> None:
        assert self._transport is not None
        wanted = subscription(request, self._house.secret, time.time())
        if request.path == WEBSOCKET_PATH:
            answer = websocket.accept(request)
            self._house.admit(self, WebSocketReader(self._transport, wanted, answer))
        else:
            self._house.admit(self, EventReader(self._transport, wanted))

    def _head_is_late(self) -> None:
        self.refuse(
            RefusedError(
                HTTPStatus.REQUEST_TIMEOUT,
                "timeout",
                f"request: must come within {HEAD_S:.0f} s, got no end; send it whole",
            )
        )

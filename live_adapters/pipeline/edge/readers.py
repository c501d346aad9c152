"""The edge's side of one subscriber's connection: over WebSocket or as server-sent events."""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod

from live_adapters.pipeline.edge import eventstream, websocket
from live_adapters.pipeline.edge.position import everyone, within_poll
from live_adapters.pipeline.edge.replay import Again, Gap
from live_adapters.pipeline.edge.subscription import Subscription

MAX_UNSENT_BYTES = 8 << 20  # a subscriber this far behind is disconnected
LINGER_S = 2.0  # that a connection has to take what is in its buffer when the edge ends it


class Bulletin:
    """What one poll says: by tenant a WebSocket frame, and the edge's offsets before and after it."""

    def __init__(self, frames: dict[int, bytes], before: str, after: str) -> None:
        self.frames, self.before, self.after = frames, before, after
        self._events: dict[int, bytes] = {}

    def event(self, tenant: int) -> bytes:
        """Returns a tenant's message as a server-sent event, encoded once for all who want it."""
        event = self._events.get(tenant)
        if event is None:
            identity = within_poll(tenant, self.after, self.before)
            message = websocket.payload_of(self.frames[tenant])
            event = self._events[tenant] = eventstream.prices_event(identity, message)
        return event


class Reader(ABC):
    """A subscriber that was let in."""

    def __init__(self, transport: asyncio.Transport, wanted: Subscription) -> None:
        self.wanted = wanted
        self._transport = transport
        self._limit_bytes = MAX_UNSENT_BYTES

    def begin(self, offsets: str, gaps: list[Gap], again: list[Again]) -> None:
        """Sends what the subscriber missed, in one write.

        That much may be unsent on top of the limit, until it has been taken.
        """
        missed = b"".join([self._gap(gaps) if gaps else b"", *map(self._again, again)])
        self._limit_bytes += len(missed)
        self._transport.write(self._start(offsets) + missed)

    def send(self, bulletin: Bulletin) -> bool:
        """Sends its tenants' messages in one write; False when it is too far behind to be sent anything."""
        if self._transport.get_write_buffer_size() > self._limit_bytes:
            return False
        tenants = self.wanted.tenants
        mine = self._messages(bulletin, None if tenants is None else [t for t in bulletin.frames if t in tenants])
        if mine:
            self._transport.write(b"".join(mine))
        return True

    def beat(self, offsets: str) -> None:
        """Shows that the connection lives."""
        if self._transport.get_write_buffer_size() <= MAX_UNSENT_BYTES:
            self._limit_bytes = MAX_UNSENT_BYTES
            self._transport.write(self._heartbeat(offsets))

    def end(self, code: int, why: str) -> None:
        """Says why it ends, after what is unsent, and closes; who does not read is cut off a little later."""
        if not self._transport.is_closing():
            self._transport.write(self._farewell(code, why))
            self._transport.close()
        asyncio.get_running_loop().call_later(LINGER_S, self._transport.abort)

    def receive(self, data: bytes) -> None:  # noqa: B027
        """Takes what the client sends.

        Raises:
            ClientError: the client may not send that.
        """

    @abstractmethod
    def _messages(self, bulletin: Bulletin, tenants: list[int] | None) -> list[bytes]: ...

    @abstractmethod
    def _start(self, offsets: str) -> bytes: ...

    @abstractmethod
    def _gap(self, gaps: list[Gap]) -> bytes: ...

    @abstractmethod
    def _again(self, again: Again) -> bytes: ...

    @abstractmethod
    def _heartbeat(self, offsets: str) -> bytes: ...

    @abstractmethod
    def _farewell(self, code: int, why: str) -> bytes: ...


class WebSocketReader(Reader):
    """Binary messages are prices; text messages are JSON about the stream: `{"position": id}`, `{"gap": [...]}`."""

    def __init__(self, transport: asyncio.Transport, wanted: Subscription, answer: bytes) -> None:
        super().__init__(transport, wanted)
        self._answer = answer  # to the handshake
        self._control = websocket.ControlFrames()

    def receive(self, data: bytes) -> None:
        """Answers pings and the closing handshake.

        Raises:
            ClientError: the client may not send that.
        """
        for opcode, payload in self._control.feed(data):
            if opcode == websocket.PING:
                self._transport.write(websocket.pong_frame(payload))
            elif opcode == websocket.CLOSE:
                self._transport.write(websocket.close_frame(1000))
                self._transport.close()
                return

    def _messages(self, bulletin: Bulletin, tenants: list[int] | None) -> list[bytes]:
        frames = bulletin.frames
        return [*frames.values()] if tenants is None else [frames[tenant] for tenant in tenants]

    def _start(self, offsets: str) -> bytes:
        # A client that resumes has not yet got what this position says it has: the next heartbeat tells it.
        return self._answer + (b"" if self.wanted.since else self._heartbeat(offsets))

    def _gap(self, gaps: list[Gap]) -> bytes:
        return websocket.text_frame(json.dumps({"gap": [gap._asdict() for gap in gaps]}))

    def _again(self, again: Again) -> bytes:
        return websocket.binary_frame(again.message)

    def _heartbeat(self, offsets: str) -> bytes:
        return websocket.text_frame(json.dumps({"position": everyone(offsets)}))

    def _farewell(self, code: int, why: str) -> bytes:
        return websocket.close_frame(code, why)


class EventReader(Reader):
    """Events without a name are prices; `start`, `gap` and `end` are about the stream."""

    def _messages(self, bulletin: Bulletin, tenants: list[int] | None) -> list[bytes]:
        return [bulletin.event(tenant) for tenant in (bulletin.frames if tenants is None else tenants)]

    def _start(self, offsets: str) -> bytes:
        return eventstream.HEAD + (b"" if self.wanted.since else eventstream.start_event(everyone(offsets)))

    def _gap(self, gaps: list[Gap]) -> bytes:
        return eventstream.named_event("gap", json.dumps([gap._asdict() for gap in gaps]))

    def _again(self, again: Again) -> bytes:
        return eventstream.prices_event(again.identity, again.message)

    def _heartbeat(self, offsets: str) -> bytes:
        return eventstream.HEARTBEAT

    def _farewell(self, code: int, why: str) -> bytes:
        return eventstream.named_event("end", f"{code} {why}")

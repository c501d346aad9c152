"""A gRPC call at the least cost to the caller: HTTP/2 by `h2`, any number of messages in one frame, one thread.

gRPC's own Python client would cost more a message than the gateway that is to be loaded, on the same cores. Protocol: "gRPC over
HTTP2" (PROTOCOL-HTTP2.md of gRPC).
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Iterable

import grpc
import h2.config
import h2.connection
import h2.events
import h2.exceptions

PREFIX = struct.Struct(">BI")  # of a message: not compressed, its length
READ_BYTES = 1 << 16
CONNECT_S = 5.0
STALL_S = 30.0
STATUS = {str(status.value[0]): status.name for status in grpc.StatusCode}


class CallFailed(Exception):  # noqa: N818 - as gRPC says it
    """The call ended, or never began: a status of gRPC, and what is known of it."""


class Call:
    """One call with a stream of messages either way.

    Raises:
        CallFailed: nothing listens there.
    """

    def __init__(self, host: str, port: int, path: str, metadata: Iterable[tuple[str, str]] = ()) -> None:
        self.ended = False
        self._link = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self._unread = bytearray()
        try:
            self._socket = socket.create_connection((host, port), timeout=CONNECT_S)
        except OSError as error:
            raise CallFailed(f"{grpc.StatusCode.UNAVAILABLE.name}: {error}") from None
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._link.initiate_connection()
        self._stream = self._link.get_next_available_stream_id()
        head = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", f"{host}:{port}")]
        head += [("te", "trailers"), ("content-type", "application/grpc"), *metadata]
        self._link.send_headers(self._stream, head)
        self._flush()

    def send(self, messages: Iterable[bytes]) -> None:
        """Sends messages, those that the peer has room for now in one frame; waits for room for the others."""
        data = memoryview(b"".join(PREFIX.pack(0, len(message)) + message for message in messages))
        while data and not self.ended:
            room = min(self._link.local_flow_control_window(self._stream), self._link.max_outbound_frame_size)
            if room > 0:
                self._link.send_data(self._stream, data[:room])
                data = data[room:]
                self._flush()
            elif not self._read(STALL_S):
                raise CallFailed(f"{grpc.StatusCode.DEADLINE_EXCEEDED.name}: not read for {STALL_S:.0f} s")

    def done(self) -> None:
        """Says that no message follows."""
        if not self.ended:
            self._link.end_stream(self._stream)
            self._flush()

    def receive(self, until_ns: int) -> list[bytes]:
        """Returns the messages that have arrived as soon as one has, none at `until_ns`, monotonic ns, or at the end."""
        messages = self._whole()
        while not messages and not self.ended:
            if not self._read(max(0.0, (until_ns - time.monotonic_ns()) / 1e9)):
                return []
            messages = self._whole()
        return messages

    def close(self) -> None:
        """Leaves."""
        self._socket.close()

    def _whole(self) -> list[bytes]:
        messages, at = [], 0
        while len(self._unread) >= at + PREFIX.size:
            start = at + PREFIX.size
            end = start + PREFIX.unpack_from(self._unread, at)[1]
            if len(self._unread) < end:
                break
            messages.append(bytes(self._unread[start:end]))
            at = end
        del self._unread[:at]
        return messages

    def _read(self, timeout_s: float) -> bool:
        """Reads what is there once something is; returns False when nothing came in time."""
        if not select.select([self._socket], [], [], timeout_s)[0]:
            return False
        try:
            data = self._socket.recv(READ_BYTES)
            if not data:
                raise CallFailed(f"{grpc.StatusCode.UNAVAILABLE.name}: the connection was closed")
            for event in self._link.receive_data(data):
                self._see(event)
        except (OSError, h2.exceptions.ProtocolError) as error:
            raise CallFailed(f"{grpc.StatusCode.UNAVAILABLE.name}: {error}") from None
        self._flush()
        return True

    def _see(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.DataReceived):
            self._unread += event.data
            self._link.acknowledge_received_data(event.flow_controlled_length, self._stream)
        elif isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
            told = dict(event.headers)
            if (status := told.get("grpc-status", "0")) != "0":
                raise CallFailed(f"{STATUS.get(status, status)}: {told.get('grpc-message', '')}")
        elif isinstance(event, h2.events.StreamEnded):
            self.ended = True
        elif isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated):
            raise CallFailed(f"{grpc.StatusCode.UNAVAILABLE.name}: the peer broke off, code {event.error_code}")

    def _flush(self) -> None:
        if data := self._link.data_to_send():
            try:
                self._socket.sendall(data)
            except OSError as error:
                raise CallFailed(f"{grpc.StatusCode.UNAVAILABLE.name}: {error}") from None

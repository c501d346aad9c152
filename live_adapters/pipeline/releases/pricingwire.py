"""The pricing service's binary protocol. All little-endian.

A request is REQUEST (its number from 1, frames, events), then the keys (u4), quantities (f8) and limit prices (f8) of its events;
the answer is ANSWER (the same number, events) and their prices (f8). With RETRY in place of the frames, stable prices all events.

Where a canary had a part in it, the answer is ANSWER (minus the number, bytes of the rest), the number of events (i4), their
prices (f8), who priced each (u1: BY_STABLE, BY_CANARY, FAILED), and why the canary failed, as UTF-8; a failed event has no price.

A control request is REQUEST (its number, CONTROL, bytes) and a JSON object; with `weights` it sets them, all at once or, on an
error, not at all. The answer is ANSWER (minus the number, bytes) and a JSON object: `error`, or what is in force and was counted:
`weights`, `releases`, `memory_bytes`.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from live_adapters.pipeline.releases.candidate import Order
from live_adapters.pipeline.releases.valuation import Floats

REQUEST = struct.Struct("<qii")
ANSWER = struct.Struct("<qi")
COUNT = struct.Struct("<i")
EVENT_BYTES = 4 + 8 + 8
MAX_EVENTS = 10_000_000
RETRY, CONTROL = -1, -2
BY_STABLE, BY_CANARY, FAILED = 0, 1, 2


class Priced(NamedTuple):
    """Prices, shape (events,); `origin` says who priced each (u1), None where stable priced all; `reason` of what failed."""

    prices: Floats
    origin: NDArray[np.uint8] | None = None
    reason: str = ""

    @property
    def canary(self) -> NDArray[np.bool_] | None:
        """Which events the canary priced, shape (events,); None where it had no part."""
        return None if self.origin is None else self.origin == BY_CANARY


def pack_order(order: Order) -> bytes:
    """Returns the body of a request."""
    return b"".join((order.keys.tobytes(), order.quantities.tobytes(), order.limit_prices.tobytes()))


def unpack_order(body: bytes) -> Order:
    """Reads the body of a request back."""
    count = len(body) // EVENT_BYTES
    values = np.frombuffer(body, "<f8", 2 * count, offset=4 * count)
    return Order(np.frombuffer(body, "<u4", count), values[:count], values[count:])


def pack_answer(number: int, priced: Priced) -> bytes:
    """Returns an answer, head included."""
    events = len(priced.prices)
    if priced.origin is None:
        return ANSWER.pack(number, events) + priced.prices.tobytes()
    rest = b"".join((COUNT.pack(events), priced.prices.tobytes(), priced.origin.tobytes(), priced.reason.encode()))
    return pack_rest(number, rest)


def pack_rest(number: int, rest: bytes) -> bytes:
    """Returns an answer of any length to request `number`."""
    return ANSWER.pack(-number, len(rest)) + rest


def unpack_split(rest: bytes) -> Priced:
    """Reads an answer that a canary had a part in."""
    (events,) = COUNT.unpack_from(rest)
    prices = np.frombuffer(rest, "<f8", events, offset=COUNT.size)
    ends = COUNT.size + 8 * events
    return Priced(prices, np.frombuffer(rest, np.uint8, events, offset=ends), rest[ends + events :].decode())

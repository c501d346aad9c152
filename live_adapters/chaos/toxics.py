"""Toxics of a TCP proxy, with toxiproxy's names and attributes: what each does to the bytes of one direction.

TCP has no lost packets to show: what a client sees of a loss is a retransmission, that is a delay. So there is no toxic for
loss; a `latency` of a retransmission timeout (200 ms) with a small `toxicity` is its likeness.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from sentra_sim.errors import InputError
from sentra_sim.units import MS_PER_S

# Attributes and their defaults: times in ms, rate in KB/s, sizes in bytes.
ATTRIBUTES: dict[str, dict[str, int]] = {
    "latency": {"latency": 0, "jitter": 0},
    "bandwidth": {"rate": 0},
    "slow_close": {"delay": 0},
    "timeout": {"timeout": 0},
    "reset_peer": {"timeout": 0},
    "slicer": {"average_size": 0, "size_variation": 0, "delay": 0},
    "limit_data": {"bytes": 0},
}
STREAMS = ("upstream", "downstream")
US_PER_S = 1e6
CHUNK_BYTES = 65_536


class CutError(Exception):
    """The connection ends here; `reset`: with a RST instead of an orderly end."""

    def __init__(self, *, reset: bool) -> None:
        super().__init__("cut")
        self.reset = reset


@dataclass(frozen=True)
class Toxic:
    """One toxic.

    Attributes:
        name: Unique within its proxy.
        type: A key of ATTRIBUTES.
        stream: `upstream`, from the client to the server, or `downstream`.
        toxicity: Probability that it takes hold of a connection; of a `latency`, of a chunk of bytes.
        attributes: As in ATTRIBUTES.
    """

    name: str
    type: str
    stream: str = "downstream"
    toxicity: float = 1.0
    attributes: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.type not in ATTRIBUTES:
            raise InputError(f"toxic {self.name}: type must be one of {', '.join(ATTRIBUTES)}, got {self.type!r}")
        if self.stream not in STREAMS:
            raise InputError(f"toxic {self.name}: stream must be upstream or downstream, got {self.stream!r}")
        if not 0.0 <= self.toxicity <= 1.0:
            raise InputError(
                f"toxic {self.name}: toxicity must be from 0 to 1, got {self.toxicity}; write a probability"
            )
        known = ATTRIBUTES[self.type]
        for key, value in self.attributes.items():
            if key not in known:
                raise InputError(f"toxic {self.name}: attributes must be of {', '.join(known)}, got {key!r}")
            if not isinstance(value, int) or value < 0:
                raise InputError(f"toxic {self.name}: {key} must be a whole number of at least 0, got {value!r}")

    def __getitem__(self, attribute: str) -> int:
        return self.attributes.get(attribute, ATTRIBUTES[self.type][attribute])


def parse_toxic(data: dict[str, Any]) -> Toxic:
    """Reads a toxic as toxiproxy's JSON has it; the name is `<type>_<stream>` unless given.

    Raises:
        InputError: a value breaks a rule.
    """
    kind, stream = str(data.get("type")), str(data.get("stream") or "downstream")
    return Toxic(
        name=str(data.get("name") or f"{kind}_{stream}"),
        type=kind,
        stream=stream,
        toxicity=float(data.get("toxicity", 1.0)),
        attributes=dict(data.get("attributes") or {}),
    )


class Poisoned:
    """One direction of one connection under the toxics that took hold of it."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._drawn: dict[str, bool] = {}
        self._passed_bytes = 0
        self.passed_of_chunk = 0

    async def let_through(self, data: bytes, toxics: list[Toxic]) -> AsyncIterator[bytes]:
        """Yields the bytes, when they may go on and in the pieces they go in.

        Raises:
            CutError: the connection must end.
        """
        pieces = [data]
        for toxic in toxics:
            if not self._holds(toxic):
                continue
            match toxic.type:
                case "latency":
                    jitter = self._rng.uniform(-1.0, 1.0) * toxic["jitter"]
                    await asyncio.sleep(max(0.0, toxic["latency"] + jitter) / MS_PER_S)
                case "bandwidth":
                    await self._at_rate(len(data), toxic["rate"])
                case "timeout" | "reset_peer":
                    await self._hold(toxic)
                case "slicer":
                    pieces = self._slices(data, toxic)
                case "limit_data":
                    pieces = [data[: max(0, toxic["bytes"] - self._passed_bytes)]]
        for number, piece in enumerate(pieces):
            if number:
                await asyncio.sleep(max(t["delay"] for t in toxics if t.type == "slicer") / US_PER_S)
            self._passed_bytes += len(piece)
            yield piece
        if any(t.type == "limit_data" and self._holds(t) and self._passed_bytes >= t["bytes"] for t in toxics):
            raise CutError(reset=False)

    def count(self, data: bytes) -> None:
        """Takes note of bytes that went on past no toxic."""
        self._passed_bytes += len(data)

    async def at_end(self, toxics: list[Toxic]) -> None:
        """Waits as long as an end is held back."""
        for toxic in toxics:
            if toxic.type == "slow_close" and self._holds(toxic):
                await asyncio.sleep(toxic["delay"] / MS_PER_S)

    def _holds(self, toxic: Toxic) -> bool:
        if toxic.type == "latency":
            return self._rng.random() < toxic.toxicity
        return self._drawn.setdefault(toxic.name, self._rng.random() < toxic.toxicity)

    async def _at_rate(self, size: int, rate: int) -> None:
        if not rate:
            await asyncio.Event().wait()  # as toxiproxy: no rate, no bytes
        await asyncio.sleep(size / (rate * 1_000))

    async def _hold(self, toxic: Toxic) -> None:
        """Lets nothing through; ends the connection after the timeout, never when it is 0 (a reset: at once)."""
        if toxic["timeout"] or toxic.type == "reset_peer":
            await asyncio.sleep(toxic["timeout"] / MS_PER_S)
            raise CutError(reset=toxic.type == "reset_peer")
        await asyncio.Event().wait()

    def _slices(self, data: bytes, toxic: Toxic) -> list[bytes]:
        pieces, start = [], 0
        while start < len(data):
            size = toxic["average_size"] + self._rng.randint(-toxic["size_variation"], toxic["size_variation"])
            pieces.append(data[start : start + max(1, size)])
            start += max(1, size)
        return pieces

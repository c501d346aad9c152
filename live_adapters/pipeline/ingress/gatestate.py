"""What a gateway counts, and what its control changes: shared by the gRPC side and the REST side, on one event loop."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from live_adapters.pipeline.codec import EventArray
from live_adapters.pipeline.ingress.admission import Codes
from live_adapters.pipeline.ingress.reasons import REASONS, MessageRefused


@dataclass
class Chaos:
    """Faults that a control client may switch on: refuse every message, or wait before each is looked at."""

    refuse: bool = False
    delay_s: float = 0.0


@dataclass
class Refused:
    """Refused events by reason: of a stream, or of all."""

    by_reason: Counter[str] = field(default_factory=Counter)

    @property
    def events(self) -> int:
        """Refused events in all."""
        return self.by_reason.total()

    def add(self, counts: dict[str, int]) -> None:
        """Adds the refusals of a message."""
        self.by_reason.update(counts)


class GateState:
    """Counters of events and messages, the chaos toggles, and whether the gateway drains."""

    def __init__(self, tenants: int) -> None:
        self.received_events = 0
        self.acked_events = 0  # by Kafka
        self.refused = Refused()
        self.refused_messages: Counter[str] = Counter()  # as a whole
        self.refused_streams: Counter[str] = Counter()
        self.refused_rest: Counter[str] = Counter()
        self.refused_by_tenant: NDArray[np.int64] = np.zeros(tenants + 1, dtype=np.int64)  # the last: unknown tenants
        self.chaos = Chaos()
        self.open_streams = 0
        self.draining = False
        self.drain_asked = asyncio.Event()
        self.serving = False
        self._fewer = asyncio.Event()

    @property
    def ready(self) -> bool:
        """Tells whether new streams are taken."""
        return self.serving and not self.draining

    def refuse_events(self, events: EventArray, codes: Codes) -> dict[str, int]:
        """Counts the events of a message that have a code; returns their number by reason."""
        tenants = np.minimum(events["tenant"][codes > 0], len(self.refused_by_tenant) - 1)
        self.refused_by_tenant += np.bincount(tenants, minlength=len(self.refused_by_tenant))
        counts = np.bincount(codes, minlength=len(REASONS) + 1)[1:].tolist()
        by_reason = {reason.value: count for reason, count in zip(REASONS, counts, strict=True) if count}
        self.refused.add(by_reason)
        return by_reason

    def refuse_message(self, refused: MessageRefused) -> dict[str, int]:
        """Counts a message that is refused as a whole, and its events as far as they are known."""
        self.refused_messages[refused.reason.value] += 1
        self.received_events += refused.events
        by_reason = {refused.reason.value: refused.events} if refused.events else {}
        self.refused.add(by_reason)
        return by_reason

    def stream_opened(self) -> None:
        """Counts a stream that goes on."""
        self.open_streams += 1

    def stream_closed(self) -> None:
        """Counts it off."""
        self.open_streams -= 1
        self._fewer.set()

    async def until_idle(self, timeout_s: float) -> bool:
        """Waits until no stream is open; returns False after `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                while self.open_streams:
                    self._fewer.clear()
                    await self._fewer.wait()
        except TimeoutError:
            return False
        return True

    def counters(self) -> dict[str, int]:
        """Returns the counters by name, for the process's report."""
        counts = {"received_events": self.received_events, "acked_events": self.acked_events}
        counts |= {f"refused_events_{reason}": count for reason, count in sorted(self.refused.by_reason.items())}
        counts |= {f"refused_messages_{reason}": count for reason, count in sorted(self.refused_messages.items())}
        counts |= {f"refused_streams_{reason}": count for reason, count in sorted(self.refused_streams.items())}
        return counts | {f"refused_rest_{reason}": count for reason, count in sorted(self.refused_rest.items())}

"""Polls made ready to take effect, perhaps while the one before does: decoded and priced on top of where that will leave things.

Nothing of it has an effect, so a poll made ready may be thrown away at any time. It takes effect only on exactly what it was
made ready for: the same tenure of each partition, at the offset where the poll before has ended.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from live_adapters.pipeline.consumer.poll import Batch, Effects, Poll, assemble, sum_effects
from live_adapters.pipeline.stores.ledger import Ledger, Ownership
from live_adapters.pipeline.stores.quotes import Quotes


@dataclass(frozen=True)
class Ready:
    """A poll that may take effect any moment; times in monotonic ns, `cpu_ns` the thread's clock at its start.

    `owned` holds the tenures of its partitions.
    """

    batches: Sequence[Batch]
    poll: Poll
    effects: Effects
    canary: NDArray[np.bool_] | None
    owned: dict[int, Ownership]
    started: int
    priced: int
    cpu_ns: int

    def done_by(self, offsets: dict[int, int]) -> bool:
        """Tells whether progress that stands at these offsets has it."""
        return all(offsets.get(part.partition, -1) >= part.next_offset for part in self.poll.parts)


class Preparation:
    """Makes polls ready, one at a time, each on top of the one that is at work; `in_vain` counts those that could not stay so."""

    def __init__(self, ledger: Ledger, quotes: Quotes) -> None:
        self._ledger, self._quotes = ledger, quotes
        self._at_work: Ready | None = None
        self.in_vain = 0

    async def ready(self, batches: Sequence[Batch]) -> Ready | None:
        """Makes a poll of those batches that have no effect yet and none on its way; None when there are none.

        A rebalance may bring a batch again.

        Raises:
            PlantError: pricing stays away.
        """
        started, cpu = time.monotonic_ns(), time.thread_time_ns()
        known = self._known()
        kept = [b for b in batches if b.partition in known and b.first_offset >= known[b.partition].next_offset]
        if not kept:
            return None
        owned = {batch.partition: self._ledger.owned[batch.partition] for batch in kept}
        poll = assemble(kept, known)
        by = await self._quotes.price(poll)
        priced = time.monotonic_ns()
        return Ready(kept, poll, sum_effects(poll, by.prices), by.canary, owned, started, priced, cpu)

    async def due(self, ready: Ready | None) -> Ready | None:
        """Returns a poll as it may take effect now that the one before is over; the next one is made ready on top of it.

        What was given up meanwhile, or is read again, is no more in it, and the rest is priced anew.
        """
        self.forget()
        if ready is not None and len(held := self._held(ready)) < len(ready.owned):
            self.in_vain += 1
            ready = await self.ready([batch for batch in ready.batches if batch.partition in held])
        self._at_work = ready
        return ready

    def forget(self) -> None:
        """Forgets the poll at work: what comes now is read from where progress stands."""
        self._at_work = None

    def _held(self, ready: Ready) -> set[int]:
        """Returns the partitions of a poll that stand where it begins, under the same tenure."""
        owned = {p: own for p, own in self._ledger.owned.items() if ready.owned.get(p) is own}
        return {
            p.partition
            for p in ready.poll.parts
            if p.partition in owned and owned[p.partition].next_offset == p.old_offset
        }

    def _known(self) -> dict[int, Ownership]:
        """Returns where the partitions owned stand once the poll at work took effect."""
        known = dict(self._ledger.owned)
        if self._at_work is not None:
            for part in self._at_work.poll.parts:
                own = known.get(part.partition)
                if own is not None and own is self._at_work.owned[part.partition]:
                    known[part.partition] = Ownership(part.next_offset, own.epoch, part.sessions)
        return known

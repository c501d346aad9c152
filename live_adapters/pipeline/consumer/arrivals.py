"""When the consumer returned each frame, for the hop log: between the broker's append and the worker's start."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from live_adapters.pipeline.consumer.poll import Batch
from live_adapters.pipeline.hoplog import FETCHED, HopLog

UNKNOWN = -1


class Arrivals:
    """Keeps the arrival of each batch until its poll is done. A batch is a frame, or its rest after a fetch that cut it."""

    def __init__(self, scratch: Path, member: str) -> None:
        self._log = HopLog(scratch, member, "fetched", FETCHED)
        # (partition, next offset) → (monotonic ns, high watermark)
        self._came: dict[tuple[int, int], tuple[int, int]] = {}

    def note(self, batches: Iterable[Batch], high_watermark: Callable[[int], int | None]) -> None:
        """Notes batches that were returned just now; `high_watermark` tells the end of a partition."""
        now = time.monotonic_ns()
        for batch in batches:
            end = high_watermark(batch.partition)
            self._came[batch.partition, batch.next_offset] = (now, UNKNOWN if end is None else end)

    def tell(self, pieces: NDArray[np.void]) -> None:
        """Tells the hop log of a poll's pieces, shape (n,) of PIECE, and forgets what came before."""
        places = zip(pieces["partition"].tolist(), pieces["next_offset"].tolist(), strict=True)
        found = [(frame, self._came.get(place)) for frame, place in zip(pieces["frame"].tolist(), places, strict=True)]
        self._log.append(np.array([(frame, *came) for frame, came in found if came], dtype=FETCHED))
        self._came.clear()

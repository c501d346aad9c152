"""Which produce requests something may still come to: found by looking at all that lists or awaits requests.

A request that a broker's failure gave back to the producer, or lost, or that a follower caught up by, comes to no end of its own:
its row is free when nothing refers to it. This is looked at when the table has no room, so seldom.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from sentra_sim.engine.compiled.calendar import ACK, AVAILABLE, COPIED, KIND_BITS, REPLICATED, WRITTEN
from sentra_sim.engine.compiled.layout import LOG
from sentra_sim.engine.compiled.windows import Arrays

OF_REQUESTS = (ACK, AVAILABLE, WRITTEN, COPIED, REPLICATED)


def first_to_keep(state: NDArray[np.void], arrays: Arrays, requests: NDArray[np.void], kept: int) -> int:
    """Returns the first request from `kept` on that is not over. The newest, last of `requests`, is just being made.

    Args:
        requests: the rows of the requests from `kept` on.
    """
    numbers = kept + np.arange(len(requests))
    over = (requests["fetched"] != 0) & (requests["needs"] == 0) & ((requests["sent"] & ~requests["have"]) == 0)
    over |= ~np.isin(numbers, list(_referred(state, arrays, requests, kept)))
    over[-1] = False
    return kept + int(np.argmin(over))


def _referred(state: NDArray[np.void], arrays: Arrays, requests: NDArray[np.void], kept: int) -> Iterator[int]:
    for entries in _entries(state, arrays):
        kind, subject = entries["what"] & ((1 << KIND_BITS) - 1), entries["what"] >> KIND_BITS
        yield from subject[np.isin(kind, OF_REQUESTS)]
    threads = arrays["threads"]
    yield from threads["ref"][threads["role"] == LOG]
    yield from arrays["copies"]["catching_up"]
    for broker in arrays["brokers"]:
        yield from _jobs(arrays["nodes"], int(arrays["servers"][broker["server"]]["head"]))
    for shard in arrays["shards"]:
        for head, after in (("open_head", "next"), ("returned_head", "next"), ("held_head", "held_next")):
            number = int(shard[head])
            while number >= 0:
                yield number
                number = int(requests[number - kept][after])


def _entries(state: NDArray[np.void], arrays: Arrays) -> Iterator[NDArray[np.void]]:
    """Yields what is in the three parts of the calendar."""
    yield arrays["soon"][: int(state["soon_size"][0])]
    yield arrays["heap"][: int(state["heap_size"][0])]
    room, head = int(state["room"][0]), int(state["ring_head"][0])
    yield arrays["ring"][(head + np.arange(int(state["ring_size"][0]))) & (room - 1)]


def _jobs(nodes: NDArray[np.void], node: int) -> Iterator[int]:
    while node >= 0:
        yield int(nodes[node]["ref"])
        node = int(nodes[node]["next"])

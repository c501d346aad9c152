"""What is over, and so whose row may be used again: found by looking, as nobody counts who still holds a frame or a poll.

Without `recycles` nothing is.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from sentra_sim.engine.compiled.layout import ENDED, GIVEN_UP
from sentra_sim.engine.compiled.memory import (
    Row,
    Sim,
    frame_at,
    frame_of,
    hop_at,
    hop_call_at,
    inline,
    plain,
    poll_at,
    poll_frame_at,
    replica_at,
    request_at,
)


@inline
def frame_is_over(sim: Sim, frame: int) -> bool:
    """Tells whether a frame has come to all its hops, or has been given up, and its consumer is done with it."""
    if frame < sim.frame_kept:
        return True
    row = frame_at(sim, frame)
    if row.over == ENDED:
        return True
    hop = sim.hop_count - 1  # the last one is the last to come
    while hop >= 0 and not np.isnan(hop_at(sim, frame, hop).value):
        hop -= 1
    if hop >= 0 and not (row.over >= GIVEN_UP and came_to_the_rest(sim, frame, row.over - GIVEN_UP)):
        return False
    return not is_polled(sim, row.poll)


@plain
def came_to_the_rest(sim: Sim, frame: int, call: int) -> bool:
    """Tells whether a frame has come to all hops but those that a call and later ones lead to."""
    missing = 0
    for hop in range(sim.hop_count):
        missing += hop_call_at(sim, hop).value < call and np.isnan(hop_at(sim, frame, hop).value)
    return missing == 0


@inline
def is_polled(sim: Sim, poll: int) -> bool:
    """Tells whether a consumer has a poll under way."""
    return poll >= sim.poll_kept and replica_at(sim, poll_at(sim, poll).replica).poll == poll  # type: ignore[no-any-return]


@numba.njit(cache=True, error_model="numpy")
def advance_frames(tables: Any) -> int:
    """Returns the first frame, in order of opening, that is not over."""
    sim = tables[0]
    frame = sim.frame_kept
    while sim.recycles and frame < sim.frames and frame_is_over(sim, frame):
        frame += 1
    return frame  # type: ignore[no-any-return]


@numba.njit(cache=True, error_model="numpy")
def advance_events(tables: Any) -> None:
    """Gives up the first events, in order of intended sending, whose frames were handed out."""
    sim = tables[0]
    event = sim.event_kept
    while event < sim.event_count:
        frame = frame_of(sim.event_frame, event).value
        if frame < 0 or frame >= sim.frame_kept:
            break
        event += 1
    sim.event_kept = event


@numba.njit(cache=True, error_model="numpy")
def advance_polls(tables: Any) -> int:
    """Gives up the first polls that their replicas and all stations are done with. Returns the first that is kept."""
    sim = tables[0]
    while sim.recycles and sim.poll_kept < sim.polls and _poll_is_over(sim, sim.poll_kept):
        sim.poll_kept += 1
    return sim.poll_kept  # type: ignore[no-any-return]


@inline
def _poll_is_over(sim: Sim, number: int) -> bool:
    if is_polled(sim, number):
        return False
    poll = poll_at(sim, number)
    at = poll.first
    while at < poll.first + poll.frames and frame_is_over(sim, poll_frame_at(sim, at).value):
        at += 1
    return at == poll.first + poll.frames  # type: ignore[no-any-return]


@numba.njit(cache=True, error_model="numpy")
def advance_requests(tables: Any) -> int:
    """Gives up the first requests that consumers can fetch and that all followers have. Returns the first that is kept.

    It may be one that a broker's failure gave back or lost: `referred` tells whether that is over.

    None where followers pull: their fetches list requests that their leader may not lead any more.
    """
    sim = tables[0]
    over = sim.recycles and not sim.pulling
    while over and sim.request_kept < sim.requests and _request_is_over(request_at(sim, sim.request_kept)):
        sim.request_kept += 1
    return sim.request_kept  # type: ignore[no-any-return]


@inline
def _request_is_over(request: Row) -> bool:
    return request.fetched and request.needs == 0 and (request.sent & ~request.have) == 0  # type: ignore[no-any-return]

"""What is over, and so whose row may be used again: found by looking, as nobody counts who still holds a frame or a poll."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from sentra_sim.engine.compiled.memory import (
    Sim,
    frame_at,
    frame_of,
    hop_at,
    inline,
    poll_at,
    poll_frame_at,
    replica_at,
    request_at,
)


@inline
def frame_is_over(sim: Sim, frame: int) -> bool:
    """Tells whether a frame has come to all its hops, or has been given up (`over`)."""
    if frame < sim.frame_kept or frame_at(sim, frame).over:
        return True
    hop = sim.hop_count - 1  # the last one is the last to come
    while hop >= 0 and not np.isnan(hop_at(sim, frame, hop).value):
        hop -= 1
    return hop < 0  # type: ignore[no-any-return]


@numba.njit(cache=True, error_model="numpy")
def advance_frames(tables: Any) -> int:
    """Returns the first frame, in order of opening, that is not over."""
    sim = tables[0]
    frame = sim.frame_kept
    while frame < sim.frames and frame_is_over(sim, frame):
        frame += 1
    return frame  # type: ignore[no-any-return]


@numba.njit(cache=True, error_model="numpy")
def advance_events(tables: Any) -> None:
    """Gives up the first events, in order of intended sending, whose frames were handed out or that no frame will take."""
    sim = tables[0]
    event = sim.event_kept
    while event < sim.event_count:
        frame = frame_of(sim.event_frame, event).value
        if frame == -1 or frame >= sim.frame_kept:
            break
        event += 1
    sim.event_kept = event


@numba.njit(cache=True, error_model="numpy")
def advance_polls(tables: Any) -> int:
    """Gives up the first polls that their replicas and all stations are done with. Returns the first that is kept."""
    sim = tables[0]
    while sim.poll_kept < sim.polls and _poll_is_over(sim, sim.poll_kept):
        sim.poll_kept += 1
    return sim.poll_kept  # type: ignore[no-any-return]


@inline
def _poll_is_over(sim: Sim, number: int) -> bool:
    poll = poll_at(sim, number)
    replica = replica_at(sim, poll.replica)
    if replica.poll == number and not replica.waiting:
        return False
    at = poll.first
    while at < poll.first + poll.frames and frame_is_over(sim, poll_frame_at(sim, at).value):
        at += 1
    return at == poll.first + poll.frames  # type: ignore[no-any-return]


@numba.njit(cache=True, error_model="numpy")
def advance_requests(tables: Any) -> int:
    """Gives up the first requests that were made available and that all followers have. Returns the first that is kept."""
    sim = tables[0]
    while sim.request_kept < sim.requests:
        request = request_at(sim, sim.request_kept)
        if not request.over or request.missing > 0:
            break
        sim.request_kept += 1
    return sim.request_kept  # type: ignore[no-any-return]

"""Sizes of events, drawn as the batcher takes them. `reference/weights.py` is the model."""

from __future__ import annotations

import numpy as np

from sentra_sim.engine.compiled.calendar import delay_of
from sentra_sim.engine.compiled.memory import Sim, cold, frame_at, request_at, request_frame_at, size_class_at


@cold
def draw_size(sim: Sim) -> float:
    """Returns the size of the next event."""
    if sim.size_draw < 0:
        return float(sim.event_bytes)
    number = delay_of(sim, sim.size_draw)
    if sim.size_classes == 0:
        return max(1.0, np.rint(number))  # type: ignore[no-any-return]
    at = 0
    while at < sim.size_classes - 1 and number >= size_class_at(sim, at).edge:
        at += 1
    return size_class_at(sim, at).bytes  # type: ignore[no-any-return]


@cold
def next_size(sim: Sim, frame: int) -> float:
    """Returns the size of the next event, of an open frame or, with -1, of one that is to be opened."""
    if frame >= 0 and sim.size_per_frame:
        return frame_at(sim, frame).size  # type: ignore[no-any-return]
    return draw_size(sim)


@cold
def bytes_of(sim: Sim, frame: int) -> float:
    """Returns the size of a frame."""
    if sim.weighs:
        return frame_at(sim, frame).bytes  # type: ignore[no-any-return]
    return float(frame_at(sim, frame).events * sim.event_bytes)


@cold
def weigh_request(sim: Sim, number: int) -> None:
    """Sums the sizes of a request's frames."""
    request = request_at(sim, number)
    request.bytes = 0.0
    for place in range(request.first, request.first + request.frames):
        request.bytes += frame_at(sim, request_frame_at(sim, place).value).bytes

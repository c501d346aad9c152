"""A store's checkpoints. `reference/checkpoints.py` is the model."""

from __future__ import annotations

from sentra_sim.engine.compiled.memory import Row, plain


@plain
def begin_checkpoint(store: Row, at: float) -> None:
    """Begins a checkpoint."""
    store.events = 0
    if store.every == 0.0:
        return
    store.due_at = at + store.every
    store.until = at + store.stall
    store.unchanged = store.pages
    store.checkpoints += 1.0


@plain
def look_for_checkpoint(store: Row, now: float) -> None:
    """Begins the checkpoints that have become due."""
    while now >= store.due_at:
        begin_checkpoint(store, store.due_at)
    if store.every_events > 0 and store.events >= store.every_events:
        begin_checkpoint(store, now)


@plain
def change_pages(store: Row, events: int, now: float) -> float:
    """Notes that events commit, and returns the seconds that a flush needs for the whole pages that they write."""
    look_for_checkpoint(store, now)
    store.events += events
    if store.pages == 0.0:
        return 0.0
    images = store.unchanged * (1.0 - (1.0 - 1.0 / store.pages) ** float(events))
    store.unchanged -= images
    store.images += images
    return float(images * store.page)


@plain
def flush_slowdown(store: Row, now: float) -> float:
    """Returns the factor on a flush that begins now."""
    look_for_checkpoint(store, now)
    return store.slowdown if now < store.until else 1.0

"""Draws how the log's frames get from broker to broker and to the consumers, and what becomes of them with time."""

from typing import Any

from hypothesis import strategies as st

waiting = st.fixed_dictionaries(
    {"fetch_min_bytes": st.sampled_from([1, 2, 200, 1000]), "fetch_max_wait_s": st.sampled_from([0.002, 0.01, 0.05])}
)


def vary_mechlog(draw: st.DrawFn, changes: dict[str, Any]) -> None:
    """Adds keys to a scenario's changes, each area half of the time."""
    if draw(st.booleans()):
        changes["stations"]["group"] |= draw(waiting)

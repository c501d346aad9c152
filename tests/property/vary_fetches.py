"""Draws how the log's frames get from broker to broker and to the consumers, and what becomes of them with time."""

from typing import Any

from hypothesis import strategies as st

waiting = st.fixed_dictionaries(
    {"fetch_min_bytes": st.sampled_from([1, 2, 200, 1000]), "fetch_max_wait_s": st.sampled_from([0.002, 0.01, 0.05])}
)

pulling = st.fixed_dictionaries(
    {
        "replicate_by": st.just("pull"),
        "replica_fetch_min_bytes": st.sampled_from([1, 1, 200, 1000]),
        "replica_fetch_wait_s": st.sampled_from([0.002, 0.01, 0.05]),
    }
)
retaining = st.fixed_dictionaries(
    {
        "segment_bytes": st.sampled_from([1, 200]),
        "retention_check_s": st.sampled_from([0.001, 0.02]),
        "retention_s": st.sampled_from([0.0, 0.0005, 0.01]),
        "retention_bytes": st.sampled_from([0, 1, 300]),
    }
)
sizes = st.fixed_dictionaries(
    {"dist": st.sampled_from(["constant", "lognormal"]), "per": st.sampled_from(["event", "frame"])},
    optional={"mean_bytes": st.sampled_from([0.3, 90.0]), "cv": st.sampled_from([0.0, 2.0])},
) | st.fixed_dictionaries(
    {
        "dist": st.just("mix"),
        "per": st.sampled_from(["event", "frame"]),
        "bytes": st.just([10, 100, 1000]),
        "weights": st.sampled_from([[1.0, 0.0, 2.0], [5.0, 3.0, 1.0]]),
    }
)


def vary_fetches(draw: st.DrawFn, changes: dict[str, Any]) -> None:
    """Adds keys to a scenario's changes, each area half of the time."""
    if draw(st.booleans()):
        changes["stations"]["group"] |= draw(waiting)
    if draw(st.booleans()):
        changes["stations"]["log"] |= draw(pulling)
    if draw(st.booleans()):
        changes["stations"]["log"] |= draw(retaining)
        changes["stations"]["group"]["offset_reset"] = draw(st.sampled_from(["latest", "earliest"]))
    if draw(st.booleans()):
        changes["load.sizes"] = draw(sizes)
        changes["stations"]["batcher"]["batch_bytes"] = draw(st.sampled_from([0, 100, 500]))

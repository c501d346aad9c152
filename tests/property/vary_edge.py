"""Draws how the subscribers of an edge are connected."""

from typing import Any

from hypothesis import strategies as st


def vary_edge(draw: st.DrawFn, stations: dict[str, Any], demands: st.SearchStrategy) -> None:
    """Adds server-sent events to half of the edges that have subscribers."""
    sse = st.fixed_dictionaries(
        {"share": st.sampled_from([0.0, 0.3, 1.0]), "retry_s": st.sampled_from([0.005, 0.05])},
        optional={"deliver": demands, "connect": demands},
    )
    for station in stations.values():
        subscribers = station.get("subscribers")
        if subscribers and subscribers["reconnect"]["mean_s"] > 0.0 and draw(st.booleans()):
            subscribers["sse"] = draw(sse)

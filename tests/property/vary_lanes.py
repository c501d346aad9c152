"""Draws lanes of the log, and how the consumer group serves them."""

from typing import Any

from hypothesis import strategies as st

weights = st.sampled_from([0.3, 1.0, 5.0])


def vary_lanes(draw: st.DrawFn, changes: dict[str, Any]) -> None:
    """Gives the log lanes, half of the time."""
    if draw(st.booleans()):
        give_lanes(draw, changes)


def give_lanes(draw: st.DrawFn, changes: dict[str, Any]) -> None:
    """Gives the log two or three lanes of the load's four tenants."""
    names = draw(st.sampled_from([["a", "b", "c"], ["a", "b"]]))
    lanes: list[dict[str, Any]] = [
        {"name": name, "partitions": draw(st.integers(1, 2)), "weight": draw(weights), "tenants": [tenant]}
        for tenant, name in enumerate(names)
    ]
    lanes[1]["tenants"].append(3)
    if draw(st.booleans()):
        del lanes[draw(st.integers(0, len(lanes) - 1))]["tenants"]
    elif len(names) == 2:
        lanes[0]["tenants"].append(2)
    changes["stations"]["log"] |= {"partitions": sum(lane["partitions"] for lane in lanes), "lanes": lanes}
    changes["stations"]["group"]["service"] = draw(st.sampled_from(["fair", "priority", "fair", "priority", "arrival"]))

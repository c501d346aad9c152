"""Draws backpressure at the batcher and poison events of the consumer group."""

from typing import Any

from hypothesis import strategies as st

shares = st.sampled_from([0.0, 0.05, 0.3, 1.0])


@st.composite
def backpressures(draw: st.DrawFn) -> dict[str, Any]:
    low = draw(st.integers(0, 10))
    return {
        "high_events": low + draw(st.integers(1, 20)),
        "low_events": low,
        "poll_s": draw(st.sampled_from([0.001, 0.01, 0.04])),
        "hold_acks": draw(st.booleans()),
    }


def vary_pressure(draw: st.DrawFn, stations: dict[str, Any]) -> None:
    """Adds keys of the batcher and the group, each half of the time."""
    if draw(st.booleans()):
        rules = stations["batcher"].setdefault("admission", {"max_in_flight_events": draw(st.integers(1, 60))})
        rules["backpressure"] = draw(backpressures())
        if rules.get("max_in_flight_events") is None:
            rules["backpressure"]["hold_acks"] = False
    if draw(st.booleans()):
        group = stations["group"]
        group |= {"poison_share": draw(shares), "dlq": draw(st.booleans())}
        if draw(st.booleans()):
            group["retry"] = {"attempts": draw(st.integers(0, 3)), "base_s": 0.002, "cap_s": 0.01}

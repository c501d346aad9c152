"""Draws what a random pipeline's pools and consumer group do beyond the plain poll loop."""

from typing import Any

from hypothesis import strategies as st

shares = st.sampled_from([0.0, 0.3, 1.0])
releases = st.fixed_dictionaries(
    {"weight": st.just(0.0)},
    optional={
        "factor": st.sampled_from([0.5, 4.0]),
        "tail_share": shares,
        "tail_factor": st.just(5.0),
        "cold_events": st.integers(0, 40),
        "cold_factor": st.just(10.0),
        "leak_per_s": st.sampled_from([0.0, 3.0]),
        "errors": shares,
        "wait_s": st.sampled_from([0.0, 0.001, 0.01]),
        "wrong": shares,
    },
)


groups = st.fixed_dictionaries(
    {"max_replicas": st.integers(3, 4), "rebalance": st.sampled_from(["eager", "cooperative", "static"])},
    optional={
        "heartbeat_s": st.sampled_from([0.003, 0.02]),
        "session_timeout_s": st.sampled_from([0.01, 0.05]),
        "join_s": st.sampled_from([0.0, 0.01]),
        "ready_s": st.sampled_from([0.0, 0.01]),
        "idempotent": st.booleans(),
        "dedupe": st.just({"event_s": 1e-4}),
        "max_age_s": st.sampled_from([0.0, 0.005, 0.05]),
        "adaptive_gather": st.booleans(),
        "gather_s": st.sampled_from([0.0, 0.002]),
        "retry": st.fixed_dictionaries(
            {"attempts": st.integers(1, 4), "base_s": st.sampled_from([0.0, 0.002])}, optional={"cap_s": st.just(0.003)}
        ),
        "breaker": st.fixed_dictionaries(
            {"failures": st.integers(0, 3), "open_s": st.sampled_from([0.001, 0.02])},
            optional={"probes": st.integers(1, 2)},
        ),
    },
)
happenings = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.05, 0.1, 0.1003, 0.13, 0.2, 0.29]),
        st.sampled_from(
            [(operation, f"group-{number}", 0.0) for operation in ("kill", "start", "stop") for number in (1, 2, 3)]
            + [("replicas", "group", float(number)) for number in range(4)]
        ),
    ),
    max_size=5,
)


def vary_group(draw: st.DrawFn, stations: dict[str, Any]) -> None:
    """Gives one pool releases, the group a protocol, and stations that it calls failures."""
    for name in stations["group"]["calls"]:
        if draw(st.booleans()):
            stations[name]["failure"] = draw(shares)
    if draw(st.booleans()):
        stations["group"] |= draw(groups)
    pools = [station for station in stations.values() if station["kind"] == "pool"]
    if pools and draw(st.booleans()):
        pools[0]["releases"] = {"one": draw(releases), "two": draw(releases)}
        pools[0]["releases"]["one"]["weight"] = draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
        pools[0]["shadow_share"] = draw(shares)

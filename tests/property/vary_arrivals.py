"""Draws what is peculiar to the load and to its admission: shapes, tenants, rules of the batcher, impatient clients."""

from typing import Any

from hypothesis import strategies as st

SHAPES = st.lists(
    st.sampled_from(
        [
            {"kind": "mmpp", "states": [{"rate": 5.0, "mean_s": 0.02}, {"rate": 0.0, "mean_s": 0.05}]},
            {"kind": "burst", "on": 4.0, "on_s": 0.03, "off_s": 0.07, "at_s": 0.05},
            {"kind": "ramp", "at_s": 0.1, "seconds": 0.1, "after": 2.0},
            {"kind": "flash", "at_s": 0.1, "factor": 5.0, "decay_s": 0.03},
            {"kind": "diurnal", "speedup": 864_000.0},
            {"kind": "trace", "interval_s": 0.05, "values": [1.0, 0.0, 3.0]},
        ]
    ),
    max_size=2,
)
quotas = st.fixed_dictionaries({"rate_eps": st.floats(1.0, 300.0), "burst_events": st.floats(1.0, 20.0)})


@st.composite
def admissions(draw: st.DrawFn) -> dict[str, Any]:
    rules: dict[str, Any] = {
        "quotas": [draw(quotas) | {"tenant": tenant} for tenant in draw(st.sets(st.integers(0, 3), max_size=2))],
        "key_quota": draw(st.none() | quotas),
    }
    if draw(st.booleans()):
        rules |= {
            "max_in_flight_events": draw(st.integers(1, 60)),
            "silver": [1],
            "bronze": draw(st.sampled_from([[], [2, 3]])),
            "guaranteed": draw(st.sampled_from([0.0, 0.5, 1.0])),
            "weights": draw(st.sampled_from([[], [1.0, 2.0, 3.0, 4.0]])),
        }
    return rules


@st.composite
def retries(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "timeout_s": draw(st.sampled_from([0.002, 0.01, 0.05])),
        "retries": draw(st.integers(1, 3)),
        "backoff": draw(
            st.sampled_from([{}, {"mean_s": 0.01, "noise": {"dist": "quantiles", "quantiles": [0.0, 2.0]}}])
        ),
        "budget_ratio": draw(st.none() | st.floats(0.0, 0.5)),
    }


def vary_arrivals(draw: st.DrawFn, changes: dict[str, Any]) -> None:
    """Adds keys of the load, and rules to the source and the batcher, each half of the time."""
    changes |= {"load.shape": draw(SHAPES), "load.tenants": 4}
    changes["load.tenant_weights"] = draw(st.sampled_from([[], [5.0, 1.0, 0.0, 2.0]]))
    for station, key, rules in (("batcher", "admission", admissions()), ("source", "retry", retries())):
        if draw(st.booleans()):
            changes["stations"][station][key] = draw(rules)

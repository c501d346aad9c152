"""Whatever an autoscaler does to a random flash crowd, both engines show it the same and do the same."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sentra_sim.control.autoscaler import KedaAutoscaler
from sentra_sim.control.faults import FaultInjector, FaultPlan
from sentra_sim.control.journal import Entry
from sentra_sim.control.loop import drive_simulated
from sentra_sim.control.scaledobject import ScaledObjectSpec
from sentra_sim.engine import Trace, prepare, start
from sentra_sim.engine.run import Engine
from sentra_sim.engine.trace import EVENT_SHED
from sentra_sim.scenario import Scenario
from tests.pipelines import bare

SECONDS = 60.0


@st.composite
def crowds(draw: st.DrawFn) -> Scenario:
    """A group of one to three consumers, up to five, before a crowd that it may or may not bear."""
    timing = {"heartbeat_s": 0.4, "session_timeout_s": 2.0, "ready_s": draw(st.sampled_from([0.0, 1.0, 7.0]))}
    return bare(
        {
            "load": {"rate_eps": 10.0, "tick_s": 0.0, "keys": 50, "arrivals": "poisson"}
            | {
                "shape": [{"kind": "flash", "at_s": 5.0, "factor": draw(st.sampled_from([3.0, 12.0])), "decay_s": 10.0}]
            },
            "stations.log.partitions": draw(st.integers(1, 4)),
            "stations.group": {"kind": "consumer_group", "host": "box", "process": {"event_s": 0.012}}
            | {"replicas": draw(st.integers(1, 3)), "max_replicas": 5, "max_poll_events": draw(st.integers(1, 20))}
            | {"rebalance": draw(st.sampled_from(["eager", "cooperative", "static"]))}
            | timing,
            "hosts.box.cores": draw(st.integers(1, 3)),
        }
    )


@st.composite
def rules(draw: st.DrawFn) -> dict[str, Any]:
    """A ScaledObject's spec."""
    least = draw(st.integers(0, 2))
    down = {"stabilizationWindowSeconds": draw(st.sampled_from([0, 10]))}
    metadata = {"lagThreshold": draw(st.sampled_from(["5", "40"])), "activationLagThreshold": "3"}
    return {
        "pollingInterval": draw(st.sampled_from([2, 7])),
        "cooldownPeriod": draw(st.sampled_from([5, 20])),
        "minReplicaCount": least,
        "maxReplicaCount": draw(st.integers(max(1, least), 5)),
        "advanced": {"horizontalPodAutoscalerConfig": {"behavior": {"scaleDown": down}}},
        "triggers": [{"type": "kafka", "metadata": metadata}],
    } | ({"idleReplicaCount": least - 1} if least and draw(st.booleans()) else {})


KILL = {"action": "kill", "process": "group-1", "for_s": 4.0}


def played(engine: Engine, scenario: Scenario, rule: dict[str, Any], kill_s: float) -> tuple[list[Entry], Trace]:
    plan = prepare(scenario, seconds=SECONDS, seed=3)
    simulation = start(plan, engine=engine)
    faults = FaultInjector(FaultPlan.model_validate({"timetable": [KILL | {"at_s": kill_s}]}))
    scaler = KedaAutoscaler(ScaledObjectSpec.model_validate({"scaleTargetRef": {"name": "group"}} | rule))
    return drive_simulated(simulation, plan, [faults, scaler]).entries, simulation.trace()


@settings(max_examples=25, deadline=None)
@given(scenario=crowds(), rule=rules(), kill_s=st.sampled_from([1.0, 12.3, 30.0]))
def test_an_autoscaler_sees_and_does_the_same_in_both_engines(
    scenario: Scenario, rule: dict[str, Any], kill_s: float
) -> None:
    journal, trace = played("compiled", scenario, rule, kill_s)
    other_journal, other_trace = played("reference", scenario, rule, kill_s)
    assert journal == other_journal
    np.testing.assert_array_equal(trace.hops_s, other_trace.hops_s)
    np.testing.assert_array_equal(trace.outcome, other_trace.outcome)
    taken, refused = (trace.frame >= 0).sum(), (trace.frame == EVENT_SHED).sum()
    assert trace.events.sum() == taken
    assert taken + refused + (trace.frame == -1).sum() == len(trace.frame)

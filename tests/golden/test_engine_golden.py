"""A pipeline with everything in it, against the figures that it gave when its semantics were agreed on.

Equal engines may change together; this notices. If a change of the model is meant, put the new figures here with the change.
"""

import numpy as np
import pytest

from sentra_sim.engine import prepare, run
from sentra_sim.scenario import load_scenario
from tests.golden.figures import EVERYTHING, FIGURES


@pytest.mark.parametrize("engine", ["compiled", "reference"])
def test_the_model_gives_the_figures_agreed_on(engine) -> None:
    plan = prepare(load_scenario(EVERYTHING), seconds=4.0, seed=11)
    trace = run(plan, engine=engine)
    found = {
        "frames": float(len(trace.events)),
        "polls": float(trace.poll.max() + 1),
        "cpu_s": float(trace.cpu_s.sum()),
        **{
            f"median hop {number}": float(value)
            for number, value in enumerate(np.median(since_due(plan, trace), axis=0))
        },
        **{f"worst hop {number}": float(value) for number, value in enumerate(since_due(plan, trace).max(axis=0))},
    }
    assert found == pytest.approx(FIGURES, rel=1e-9)


def since_due(plan, trace) -> np.ndarray:
    """Returns the time of every event at every hop since it was due, shape (events, hops)."""
    return trace.hops_s[trace.frame] - plan.offered.intended_s[:, None]

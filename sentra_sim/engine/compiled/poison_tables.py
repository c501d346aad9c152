"""Tables for poison events. None where no event may be one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentra_sim.engine.facts import has_poison, has_releases
from sentra_sim.engine.plan import Plan
from sentra_sim.engine.trace import DLQ, LOST
from sentra_sim.scenario import ConsumerGroup, Source, only

SPOILT = np.dtype(
    [(name, np.int64) for name in ("bad", "dead")], align=True
)  # events of a frame, as in `reference.world.Frame`
IS_POISON = -1.0  # in place of the number that decided it


def poison_arrays(plan: Plan) -> dict[str, NDArray[Any]]:
    """Returns the tables."""
    return {"event_poison": plan.poison.copy()} if has_poison(plan.scenario) else {}


def poison_settings(plan: Plan) -> dict[str, float]:
    """Returns the settings in the state."""
    group, on = only(plan.scenario, ConsumerGroup)[1], has_poison(plan.scenario)
    return {
        "poisonous": on,
        "poison_share": group.poison_share or 0.0,
        "noted": on or has_releases(plan.scenario),
        "sifted": on or only(plan.scenario, Source)[1].retry is not None,
        "dead_letters": group.dlq,
        "given_up": DLQ if group.dlq else LOST,
    }

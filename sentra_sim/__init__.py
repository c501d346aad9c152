"""Sentra's digital-twin lab: simulate, calibrate and compare a streaming pipeline.

```python
import sentra_sim as lab

scenario = lab.load_scenario("data/scenarios/sentra.yaml")
tables, manifest = lab.simulate(scenario, seconds=10, warmup_s=2, seed=1)
```

Names are loaded when they are first used, so that importing the lab costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sentra_sim.engine import simulate
    from sentra_sim.kpi import hop_breakdown, kpis
    from sentra_sim.records import Run, read_run, write_run
    from sentra_sim.scenario import Scenario, load_scenario, with_load
    from sentra_sim.twin import Twin, apply_twin, calibrate, load_twin, save_twin, validate

_HOME = {
    "Run": "records",
    "Scenario": "scenario",
    "Twin": "twin",
    "apply_twin": "twin",
    "calibrate": "twin",
    "hop_breakdown": "kpi",
    "kpis": "kpi",
    "load_scenario": "scenario",
    "load_twin": "twin",
    "read_run": "records",
    "save_twin": "twin",
    "simulate": "engine",
    "validate": "twin",
    "with_load": "scenario",
    "write_run": "records",
}

__all__ = [
    "Run",
    "Scenario",
    "Twin",
    "apply_twin",
    "calibrate",
    "hop_breakdown",
    "kpis",
    "load_scenario",
    "load_twin",
    "read_run",
    "save_twin",
    "simulate",
    "validate",
    "with_load",
    "write_run",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)

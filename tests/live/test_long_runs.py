"""A stepped run on the real stack: one run folder, KPIs for each step, and what every process held."""

from pathlib import Path

import numpy as np
import pytest

from live_adapters import stack as local_stack
from live_adapters.measure import measure
from sentra_sim.kpi import growth, step_kpis
from sentra_sim.records import OPEN_FDS, PRIVATE_MEMORY, RESIDENT_MEMORY
from sentra_sim.scenario import load_scenario, processes, with_load
from sentra_sim.scenario.arrivals import draw_offered

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("brief_rest")]

SCENARIO = load_scenario(Path(__file__).parents[2] / "data" / "scenarios" / "sentra.yaml")
STEPS = ((3_000.0, 6.0), (6_000.0, 5.0), (9_000.0, 5.0))


def test_the_rate_changes_while_the_run_goes_on_and_each_step_has_its_kpis(
    stack: local_stack.Endpoints, tmp_path: Path
) -> None:
    scenario = with_load(SCENARIO, steps=STEPS, arrivals="poisson")
    run = measure(scenario, rate_eps=None, seconds=15.0, warmup_s=1.0, seed=3, out=tmp_path / "run")
    offered = draw_offered(run.manifest.load_scenario().load, 16.0, 3)
    assert run.manifest.counters["sent"] == run.manifest.counters["effects"] == len(offered.keys)
    frames = run.tables.frames
    received = np.repeat(frames["received_ns"].to_numpy(), frames["events"].to_numpy())
    intended = np.sort((received + run.tables.events["intended_offset_ns"].to_numpy()) / 1e9)
    np.testing.assert_allclose(intended, offered.intended_s, atol=2e-9)

    steps = step_kpis(run)
    assert [(step.rate_eps, step.start_s, step.end_s) for step in steps] == [
        (3_000.0, 1.0, 6.0),
        (6_000.0, 6.0, 11.0),
        (9_000.0, 11.0, 16.0),
    ]
    for step in steps:
        values = {kpi.name: kpi.value for kpi in step.kpis}
        assert values["delivered_ratio"] == 1.0
        assert values["throughput_eps"] == pytest.approx(step.rate_eps, rel=0.1)

    names = set(processes(SCENARIO))
    for metric in (RESIDENT_MEMORY, PRIVATE_MEMORY, OPEN_FDS):
        rows = run.tables.metrics.filter(run.tables.metrics["name"] == metric)
        assert {labels.split('"')[1] for labels in rows["labels"]} == names
        assert (rows["value"] > 0).all()
    memory = run.tables.metrics.filter(run.tables.metrics["name"] == RESIDENT_MEMORY)
    gateway = memory.filter(memory["labels"] == 'process="gateway"')["value"]
    assert 3e7 < gateway.min() <= gateway.max() < 1e9
    assert {one.process: one.memory.verdict for one in growth(run)} == dict.fromkeys(
        names, "nodata"
    )  # too short to tell

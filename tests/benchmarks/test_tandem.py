"""Eight stations of four servers in a row, beside other simulators: the same load, the same distributions, per customer and hop.

happysim needs Python 3.13: where this one has it not, SENTRA_BENCH_PYTHON names an interpreter that has (and Ciw and SimPy too).
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from sentra_sim.engine import prepare, run, run_statistics
from sentra_sim.scenario import Scenario
from tests.benchmarks.rivals import INTERVAL_S, SERVERS, SERVICE_S, STATIONS
from tests.benchmarks.test_engines import best, timed
from tests.pipelines import bare

RIVALS = Path(__file__).with_name("rivals.py")
LEAST = {"our SimPy engine": 200.0, "happysim": 1000.0}
CUSTOMERS = {"compiled": 320_000, "our SimPy engine": 16_000, "happysim": 16_000, "ciw": 16_000, "simpy": 16_000}


def tandem(stations: int = STATIONS) -> Scenario:
    """Returns the stations with a front that costs nothing: every event a frame, every frame a poll of its own."""
    changes: dict[str, Any] = {
        "load": {"rate_eps": 1 / INTERVAL_S, "tick_s": 0.0, "keys": 1, "tenants": 1},
        "kpis.e2e": {"from": "intended", "to": f"hop_{stations}" if stations else "entered"},
        "stations.group.calls": ["door"],
        "stations.door": {"kind": "pool", "host": "ample", "hop": "entered"}
        | ({"to": ["station-1"]} if stations else {}),
    }
    for number in range(1, stations + 1):
        changes[f"hosts.host-{number}"] = {"cores": SERVERS, "slice_s": 1e6}
        changes[f"stations.station-{number}"] = {
            "kind": "pool",
            "host": f"host-{number}",
            "threads": SERVERS,
            "demand": {"job_s": SERVICE_S, "noise": {"dist": "exponential"}},
            "hop": f"hop_{number}",
            "to": [f"station-{number + 1}"] if number < stations else [],
        }
    return bare(changes)


def ours(customers: int, stations: int = STATIONS) -> dict[str, float]:
    plan = prepare(tandem(stations), seconds=customers * INTERVAL_S, seed=1)
    run_statistics(plan)  # draws what is drawn once, and loads the compiled code
    cpu_s, found = best(5, lambda: run_statistics(plan))
    return {"cpu_s": cpu_s, "customers": found.delivered, "mean_s": found.spans["e2e"].mean_s}


def our_reference(customers: int) -> dict[str, float]:
    plan = prepare(tandem(), seconds=customers * INTERVAL_S, seed=1)
    cpu_s, trace = timed(lambda: run(plan, engine="reference"))
    return {
        "cpu_s": cpu_s,
        "customers": len(trace.events),
        "mean_s": float((trace.hops_s[:, -1] - plan.offered.intended_s).mean()),
    }


def rival(name: str, customers: int) -> dict[str, float] | None:
    """Runs another simulator; None where it is not installed."""
    module = {"happysim": "happysimulator"}.get(name, name)
    for python in (sys.executable, os.environ.get("SENTRA_BENCH_PYTHON", "")):
        if (
            python
            and subprocess.run([python, "-c", f"import {module}"], check=False, capture_output=True).returncode == 0
        ):
            done = subprocess.run(
                [python, str(RIVALS), name, str(customers), "1"], check=True, capture_output=True, text=True
            )
            return dict(json.loads(done.stdout))
    return None


@pytest.mark.timeout(1800)
def test_a_row_of_stations_is_faster_than_elsewhere() -> None:
    found = {"compiled": ours(CUSTOMERS["compiled"]), "our SimPy engine": our_reference(CUSTOMERS["our SimPy engine"])}
    missing = []
    for name in ("simpy", "ciw", "happysim"):
        result = rival(name, CUSTOMERS[name])
        if result is None:
            missing.append(name)
        else:
            found[name] = result
    per_hop_s = {name: result["cpu_s"] / result["customers"] / STATIONS for name, result in found.items()}
    table = Table(title=f"{STATIONS} stations G/M/{SERVERS} in a row, 80 % busy", title_justify="left")
    for column in (
        "simulator",
        "customers",
        "mean time in system, ms",
        "CPU per customer and hop, µs",
        "compiled is faster",
    ):
        table.add_column(column, justify="left" if column == "simulator" else "right")
    for name, result in found.items():
        ratio = per_hop_s[name] / per_hop_s["compiled"]
        figures = (f"{result['customers']:,.0f}", f"{1e3 * result['mean_s']:.1f}", f"{1e6 * per_hop_s[name]:.3f}")
        table.add_row(name, *figures, f"{ratio:,.0f} times")
    console = Console(width=120)
    console.print()
    console.print(table)
    front_s = ours(CUSTOMERS["compiled"], stations=0)["cpu_s"] / CUSTOMERS["compiled"]
    share = front_s / (STATIONS * per_hop_s["compiled"])
    console.print(
        f"The compiled engine's pipeline in front of the stations: {1e6 * front_s:.3f} µs a customer, {share:.0%} of it all"
    )
    for name in missing:
        console.print(f"{name}: not installed; pip install '.[bench]' or name an interpreter in SENTRA_BENCH_PYTHON")
    for name, result in found.items():
        assert result["mean_s"] == pytest.approx(found["compiled"]["mean_s"], rel=0.05), (
            f"{name} simulates something else"
        )
    for name, least in LEAST.items():
        if name in found:
            assert per_hop_s[name] / per_hop_s["compiled"] >= least, name

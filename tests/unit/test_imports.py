"""Imports point one way, and nothing heavy is loaded before it is needed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.import_rules import OWNERS, RANK, SIM, broken_rules, circles

ROOT = Path(__file__).parents[2]
HEAVY = {*OWNERS, "bokeh", "numpy", "pandas", "polars", "pydantic", "scipy", "yaml"}


def test_imports_point_one_way() -> None:
    assert broken_rules(ROOT) == []


def test_every_part_has_a_rank_and_every_rank_is_of_use() -> None:
    parts = {path.stem for path in (ROOT / SIM).iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert parts - {"__init__"} <= set(RANK)


@pytest.mark.parametrize(
    ("file", "code", "reason"),
    [
        ("sentra_sim/kpi/a.py", "from sentra_sim.engine import simulate", "kpi must not import engine"),
        ("sentra_sim/records/a.py", "from sentra_sim import kpi", "records must not import kpi"),
        ("sentra_sim/records/a.py", "from ..kpi import kpis", "records must not import kpi"),
        ("sentra_sim/engine/a.py", "from sentra_sim.control import Plant", "engine must not import control"),
        ("sentra_sim/plots/a.py", "from sentra_sim.twin import Twin", "plots must not import twin"),
        ("sentra_sim/twin/a.py", "def f():\n    import sentra_sim.dashboard", "twin must not import dashboard"),
        ("sentra_sim/twin/a.py", "from sentra_sim.cli import main", "twin must not import cli"),
        ("sentra_sim/kpi/a.py", "import sentra_sim", "parts do not import the facade"),
        ("sentra_sim/brandnew/a.py", "import sentra_sim.units", "brandnew has no rank"),
        ("sentra_sim/cli/a.py", "from live_adapters.stack import up", "inside functions only"),
        ("sentra_sim/twin/a.py", "def f():\n    import live_adapters.stack", "only sentra_sim.cli may import"),
        (
            "sentra_sim/kpi/a.py",
            "import importlib\nimportlib.import_module('live_adapters')",
            "only sentra_sim.cli may",
        ),
        ("live_adapters/a.py", "from sentra_sim.engine import simulate", "live_adapters imports only records"),
        ("live_adapters/a.py", "from sentra_sim import twin", "live_adapters imports only records"),
        ("live_adapters/a.py", "from sentra_sim.control import rollout", "live_adapters imports only records"),
        ("sentra_sim/twin/a.py", "from numba import njit", "only sentra_sim.engine may import numba"),
        ("sentra_sim/plots/a.py", "import panel as pn", "only sentra_sim.dashboard may import panel"),
        ("sentra_sim/report/a.py", "import holoviews.plotting", "may import holoviews"),
        ("sentra_sim/rollout/a.py", "import xgboost", "only sentra_sim.risk may import xgboost"),
        ("sentra_sim/cli/a.py", "def f():\n    import grpc", "only live_adapters may import grpc"),
    ],
)
def test_a_forbidden_import_is_named_with_file_line_and_reason(
    tmp_path: Path, file: str, code: str, reason: str
) -> None:
    write(tmp_path, file, code)
    (line,) = broken_rules(tmp_path)
    assert line.startswith(f"{file}:{len(code.splitlines())}: ")
    assert reason in line


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("sentra_sim/kpi/a.py", "from sentra_sim.records import Run\nfrom sentra_sim.kpi.b import c\nfrom . import b"),
        ("sentra_sim/cli/a.py", "def f():\n    from live_adapters.stack import up\n    import sentra_sim.dashboard"),
        ("sentra_sim/control/a.py", "import simpy\nfrom sentra_sim.engine import simulate"),
        ("sentra_sim/__init__.py", "from sentra_sim.twin import Twin"),
        ("live_adapters/a.py", "import grpc\nfrom sentra_sim.control.plant import Plant\nimport live_adapters.load"),
        ("sentra_sim/engine/a.py", "import numba\nimport numpy as np"),
    ],
)
def test_a_permitted_import_is_let_pass(tmp_path: Path, file: str, code: str) -> None:
    write(tmp_path, file, code)
    assert broken_rules(tmp_path) == []


def test_no_imports_go_round_in_a_circle() -> None:
    assert circles(ROOT) == []


@pytest.mark.parametrize(
    "back",
    [
        "from sentra_sim.kpi import b",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from sentra_sim.kpi.b import c",
        "def f():\n    from . import b",
    ],
)
def test_a_circle_of_imports_is_found_whatever_their_kind(tmp_path: Path, back: str) -> None:
    write(tmp_path, "sentra_sim/kpi/a.py", back)
    write(tmp_path, "sentra_sim/kpi/b.py", "from sentra_sim.kpi import c")
    write(tmp_path, "sentra_sim/kpi/c.py", "from .a import f")
    write(tmp_path, "sentra_sim/kpi/d.py", "from sentra_sim.kpi import a, b, c")
    assert circles(tmp_path) == [["sentra_sim.kpi.a", "sentra_sim.kpi.b", "sentra_sim.kpi.c"]]


@pytest.mark.parametrize("module", ["sentra_sim", "sentra_sim.cli", "live_adapters"])
def test_importing_the_command_line_loads_nothing_heavy(module: str) -> None:
    code = f"import json, sys, {module}; print(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert HEAVY.isdisjoint(json.loads(done.stdout))


def write(root: Path, file: str, code: str) -> None:
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code + "\n", encoding="utf-8")

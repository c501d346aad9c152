"""What is written down is true: reference pages equal the code, examples run, commands and links exist."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType

import pytest

from sentra_sim.cli.main import build_parser

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "examples/README.md")]
DOCUMENTED = ["sentra_sim.units", "sentra_sim.rng", "sentra_sim.stats", "sentra_sim.files", "sentra_sim.scenario.keys"]


def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_reference", ROOT / "docs" / "make_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["scenario-reference.md", "record-contract.md"])
def test_a_reference_page_is_what_the_code_says(page: str) -> None:
    written = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert written == reference().PAGES[page](), "run python docs/make_reference.py"


def test_every_column_and_every_key_is_on_its_page() -> None:
    from sentra_sim.records.tables import EVENT_COLUMNS, FRAME_COLUMNS, METRIC_COLUMNS
    from sentra_sim.scenario.schema import Batcher, Load, Log

    contract = (ROOT / "docs" / "record-contract.md").read_text(encoding="utf-8")
    for column in [*FRAME_COLUMNS, *EVENT_COLUMNS, *METRIC_COLUMNS]:
        assert re.search(rf"^\| `{column}` \| \w+ \| \S", contract, flags=re.MULTILINE), column
    scenario = (ROOT / "docs" / "scenario-reference.md").read_text(encoding="utf-8")
    for key in [*Load.model_fields, *Batcher.model_fields, *Log.model_fields]:
        assert f"| `{key}` |" in scenario or key == "kind", key


@pytest.mark.parametrize("name", DOCUMENTED)
def test_the_examples_in_the_docstrings_are_true(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert links
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_command_that_the_readme_shows_is_understood() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"`(sentra [a-z][^`]*)`", text)
    assert len(commands) >= 10
    for command in commands:
        build_parser().parse_args(shlex.split(command)[1:] + _required(command))


def test_every_command_is_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (group,) = [action for action in build_parser()._actions if action.dest == "command"]
    assert group.choices is not None
    assert [name for name in group.choices if f"`sentra {name}" not in text] == []


def test_every_make_target_that_is_mentioned_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    for page in PAGES:
        named = set(
            re.findall(r"(?:`|^)(?:SERVE=0 )?make ([a-z]+)", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
        )
        assert named <= targets


def _required(command: str) -> list[str]:
    """Completes a command that is only named, as in `sentra measure`."""
    name = shlex.split(command)[1]
    given = len(shlex.split(command)) > 2
    missing = {
        "measure": ["data/scenarios/sentra.yaml", "-o", "runs/m"],
        "simulate": ["data/scenarios/sentra.yaml", "-o", "runs/s"],
        "kpi": ["runs/m"],
        "calibrate": ["runs/m", "-o", "runs/twin.yaml"],
        "validate": ["runs/twin.yaml", "runs/m"],
    }
    return [] if given else missing.get(name, [])

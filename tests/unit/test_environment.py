"""One list of dependencies, three files: pyproject.toml, environment.yml and the pins of requirements.txt agree."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
CONDA_NAMES = {"redis-py": "redis", "py-xgboost-cpu": "xgboost-cpu"}
CONDA_ONLY = {"python", "pip"}


def test_conda_gets_the_same_packages_within_the_same_bounds() -> None:
    conda = {CONDA_NAMES.get(name, name): bound for name, bound in conda_bounds().items() if name not in CONDA_ONLY}
    assert conda == declared_bounds() | build_bounds()


def test_conda_gets_a_python_that_the_project_admits() -> None:
    assert conda_bounds()["python"] == pyproject()["project"]["requires-python"]


def test_every_dependency_is_pinned_within_its_bounds() -> None:
    pins = pinned()
    for requirement in declared():
        name = canonicalize_name(requirement.name)
        assert name in pins, f"requirements.txt: must pin {name}; run make lock"
        assert requirement.specifier.contains(pins[name]), f"requirements.txt: {name} {pins[name]}; run make lock"


def test_a_build_without_isolation_finds_its_backend_pinned() -> None:
    (backend,) = pyproject()["build-system"]["requires"]
    assert Requirement(backend).specifier.contains(pinned()["setuptools"])


def test_pins_name_no_address_and_no_index() -> None:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pin = re.compile(r"[a-z0-9-]+==[A-Za-z0-9.+!]+( ; .+)?")
    assert [line for line in lines if line and not line.lstrip().startswith("#") and not pin.fullmatch(line)] == []
    assert [line for line in lines if "://" in line or "--" in line or "@" in line] == []


def test_hooks_call_the_pinned_tools_and_download_nothing() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert [repo["repo"] for repo in config["repos"]] == ["local"]
    for hook in config["repos"][0]["hooks"]:
        assert hook["language"] == "system"
        assert hook["entry"].startswith(".venv/bin/")


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def declared() -> list[Requirement]:
    section = pyproject()["project"]
    extras = section["optional-dependencies"]
    assert set(extras) == {"live", "dashboard", "risk", "sweep", "dev", "bench"}
    wanted = [extras[name] for name in extras if name != "bench"]  # other simulators, for a comparison only
    return [Requirement(text) for text in [*section["dependencies"], *(one for each in wanted for one in each)]]


def declared_bounds() -> dict[str, str]:
    return bounds(declared())


def build_bounds() -> dict[str, str]:
    return bounds([Requirement(text) for text in pyproject()["build-system"]["requires"]])


def conda_bounds() -> dict[str, str]:
    data = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    flat = [entry for entry in data["dependencies"] if isinstance(entry, str)]
    (pip,) = [entry["pip"] for entry in data["dependencies"] if isinstance(entry, dict)]
    return bounds([Requirement(text) for text in [*flat, *pip]])


def bounds(requirements: list[Requirement]) -> dict[str, str]:
    names = [canonicalize_name(requirement.name) for requirement in requirements]
    assert len(names) == len(set(names)), "a package is named twice"
    return dict(zip(names, (str(requirement.specifier) for requirement in requirements), strict=True))


def pinned() -> dict[str, str]:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.split(" ")[0].split("==") for line in lines if "==" in line and not line.lstrip().startswith("#")]
    return {canonicalize_name(name): version for name, version in pins}

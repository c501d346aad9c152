"""What a newcomer finds: the files that the README promises, and nothing of anybody's machine."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import sentra_sim

ROOT = Path(__file__).parents[2]
PARTS = ["errors", "units", "rng", "stats", "scenario", "records", "kpi", "engine", "twin", "plots", "dashboard", "cli"]


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "Makefile",
        "environment.yml",
        "requirements.txt",
        ".ci/run",
    ],
)
def test_the_files_of_a_project_are_there(name: str) -> None:
    assert (ROOT / name).read_text(encoding="utf-8").strip()


@pytest.mark.parametrize("part", PARTS)
def test_the_parts_of_the_lab_are_where_the_design_puts_them(part: str) -> None:
    home = ROOT / "sentra_sim" / part
    assert (home / "__init__.py").is_file() or home.with_suffix(".py").is_file()


def test_both_packages_say_that_they_are_typed() -> None:
    assert (ROOT / "sentra_sim" / "py.typed").is_file()
    assert (ROOT / "live_adapters" / "py.typed").is_file()


def test_the_facade_is_small_and_every_name_of_it_can_be_had() -> None:
    assert len(sentra_sim.__all__) <= 15
    assert all(getattr(sentra_sim, name) for name in sentra_sim.__all__)
    assert dir(sentra_sim) == sorted(sentra_sim.__all__)
    with pytest.raises(AttributeError, match="no attribute 'simulat'"):
        sentra_sim.simulat  # noqa: B018


def test_the_licence_is_the_one_that_the_metadata_names() -> None:
    metadata = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert metadata["license"] == "Apache-2.0"
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_the_changelog_has_an_entry_for_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_make_without_a_target_lists_the_targets() -> None:
    done = subprocess.run(["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True)
    listed = re.findall(r"^  make (\w+) ", done.stdout, flags=re.MULTILINE)
    assert {"demo", "test", "lint", "bench", "help", "clean"} <= set(listed)


def test_make_says_what_is_missing_where_there_is_no_python(tmp_path: Path) -> None:
    for tool in ("bash", "cat", "rm", "make"):
        (tmp_path / "bin" / tool).parent.mkdir(exist_ok=True)
        (tmp_path / "bin" / tool).symlink_to(subprocess.check_output(["which", tool], text=True).strip())
    for name in ("Makefile", "pyproject.toml", "requirements.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    done = subprocess.run(
        [tmp_path / "bin" / "make", "setup"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={"PATH": f"{tmp_path}/bin"},
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == (
        "make: set-up needs Python 3.11 or newer with its venv module, found none on PATH; "
        "install python3.11 and python3.11-venv"
    )
    assert not (tmp_path / ".venv").exists()


def test_no_file_names_a_folder_of_somebody_s_machine() -> None:
    files = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True).split("\0")
    private = re.compile(rb"/(root|home/[a-z]\w*|work|Users)/")
    named = [
        file
        for file in files
        if file
        and Path(file) != Path("tests/unit/test_layout.py")
        and (ROOT / file).is_file()
        and private.search((ROOT / file).read_bytes())
    ]
    assert named == []

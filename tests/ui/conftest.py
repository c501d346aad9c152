"""A browser, a served dashboard, and workspaces to look at."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from sentra_sim.records import read_manifest
from tests.builders import save_run, save_verdict
from tests.ui.browser import REMEDY, launch
from tests.ui.serving import start_dashboard

Serve = Callable[[Path], str]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser a file: while it is open an event loop runs in this thread, and tests elsewhere start their own."""
    with sync_playwright() as playwright:
        found = launch(playwright)
        if found is None:
            pytest.skip(f"no browser for the ui tests; {REMEDY}")
        yield found
        found.close()


@pytest.fixture(scope="session")
def serve() -> Iterator[Serve]:
    """Serves folders, each in a process of its own, and stops them all at the end."""
    started: list[subprocess.Popen[str]] = []

    def start(folder: Path) -> str:
        process, address = start_dashboard(folder)
        started.append(process)
        return address

    yield start
    for process in started:
        process.terminate()
        process.communicate(timeout=20)


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two held-out measurements, two training ones, a simulation, a twin with its validation, and one recording cut off."""
    folder = tmp_path_factory.mktemp("workspace")
    held_out = [save_run(folder / f"measured-4000-{n}", rate_eps=4_000.0, slowness=1.2, seed=n) for n in (1, 2)]
    training = [save_run(folder / f"measured-{rate}-1", rate_eps=float(rate), seed=rate) for rate in (2_000, 6_000)]
    save_run(
        folder / "simulated-4000", source="simulated", rate_eps=4_000.0, slowness=1.3, seed=9, twin="0123456789abcdef"
    )
    save_run(folder / "simulated-6000", source="simulated", rate_eps=6_000.0, slowness=2.5, seed=9)
    save_verdict(folder, held_out, training, error=0.04)
    save_run(folder / "torn", rate_eps=2_000.0)
    table = folder / "torn" / "frames.parquet"
    table.write_bytes(table.read_bytes()[:900])
    # Whole files that do not belong together: only reading them all tells.
    save_run(folder / "mixed", rate_eps=2_000.0, started_at="2026-02-01T10:00:00+00:00")
    shutil.copy(folder / "measured-6000-1" / "events.parquet", folder / "mixed" / "events.parquet")
    others = read_manifest(folder / "measured-6000-1").files["events"]
    manifest = read_manifest(folder / "mixed")
    manifest.files["events"] = others
    (folder / "mixed" / "manifest.json").write_text(manifest.model_dump_json())
    return folder


@pytest.fixture(scope="session")
def address(workspace: Path, serve: Serve) -> str:
    return serve(workspace)

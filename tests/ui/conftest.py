"""A browser, a served dashboard, and workspaces to look at."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.builders import save_run, save_verdict
from tests.ui.browser import REMEDY, launch

SERVE = """
import sys
from pathlib import Path
from sentra_sim.dashboard import serve
serve(Path(sys.argv[1]), port=int(sys.argv[2]), on_ready=lambda url: print(url, flush=True))
"""

Serve = Callable[[Path], str]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
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
        process = start_dashboard(folder)
        started.append(process)
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:"), process.communicate()[1]
        return address

    yield start
    for process in started:
        process.terminate()
        process.communicate(timeout=20)


def start_dashboard(folder: Path, port: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SERVE, str(folder), str(port)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two held-out measurements, two training ones, a simulation, a twin with its validation, and one recording cut off."""
    folder = tmp_path_factory.mktemp("workspace")
    held_out = [save_run(folder / f"measured-4000-{n}", rate_eps=4_000.0, slowness=1.2, seed=n) for n in (1, 2)]
    training = [save_run(folder / f"measured-{rate}-1", rate_eps=float(rate), seed=rate) for rate in (2_000, 6_000)]
    save_run(folder / "simulated-4000", source="simulated", rate_eps=4_000.0, slowness=1.3, seed=9)
    save_run(folder / "simulated-6000", source="simulated", rate_eps=6_000.0, slowness=2.5, seed=9)
    save_verdict(folder, held_out, training, error=0.04)
    save_run(folder / "torn", rate_eps=2_000.0)
    table = folder / "torn" / "frames.parquet"
    table.write_bytes(table.read_bytes()[:900])
    return folder


@pytest.fixture(scope="session")
def address(workspace: Path, serve: Serve) -> str:
    return serve(workspace)

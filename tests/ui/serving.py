"""Serves a folder's dashboard in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SERVE = """
import sys
from pathlib import Path
from sentra_sim.dashboard import serve
serve(Path(sys.argv[1]), port=int(sys.argv[2]), on_ready=lambda url: print(url, flush=True))
"""


def spawn(folder: Path, port: int = 0) -> subprocess.Popen[str]:
    """Starts the server; its first line of output is the address."""
    command = [sys.executable, "-c", SERVE, str(folder), str(port)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def start_dashboard(folder: Path) -> tuple[subprocess.Popen[str], str]:
    """Starts the server on a free port and returns it with its address; the caller ends it."""
    process = spawn(folder)
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    if not address.startswith("http://127.0.0.1:"):
        raise RuntimeError(process.communicate(timeout=20)[1])
    return process, address

"""Whether the contracts still are what others were promised: `events.proto` by `buf`, the binary layouts by comparison."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from live_adapters.pipeline.contracts import layouts
from sentra_sim.errors import InputError

ROOT = Path(__file__).parents[3]
PROTO = Path("live_adapters/pipeline/events.proto")
CONTRACTS = Path("live_adapters/pipeline/contracts")
PROTO_ACCEPTED = CONTRACTS / "events.accepted.json"  # an image of buf's, without comments
LAYOUTS_ACCEPTED = CONTRACTS / "layouts.json"


def broken(root: Path = ROOT, current: Mapping[str, layouts.Layout] | None = None) -> list[str]:
    """Returns one line for each contract that is not kept.

    Args:
        root: Holds `buf.yaml`, the contract and what was accepted of it.
        current: The binary layouts; None takes those of the code.

    Raises:
        InputError: `buf` is not installed, or an accepted description cannot be read.
    """
    current = layouts.described() if current is None else current
    accepted = _read_layouts(root)
    lines = _buf(root, "lint") or _buf(root, "breaking", "--against", str(PROTO_ACCEPTED))
    found = [f"{LAYOUTS_ACCEPTED.name}: {line}" for line in layouts.breaks(accepted, current)]
    found += [f"{LAYOUTS_ACCEPTED.name}: {name}: a new layout must be described" for name in {*current} - {*accepted}]
    return lines + found


def accept(root: Path = ROOT) -> list[Path]:
    """Writes what the contracts are now as what is promised from now on; returns the files written.

    Raises:
        InputError: `buf` is not installed, or `events.proto` is none.
    """
    options = ("--output", str(PROTO_ACCEPTED), "--exclude-source-info", "--path", str(PROTO))
    if lines := _buf(root, "build", *options):
        raise InputError(f"{lines[0]}; mend it before it is accepted")
    image = root / PROTO_ACCEPTED
    _write(image, json.loads(image.read_text(encoding="utf-8")))
    _write(root / LAYOUTS_ACCEPTED, {"format": 1, "layouts": layouts.described()})
    return [PROTO_ACCEPTED, LAYOUTS_ACCEPTED]


def _write(file: Path, data: Any) -> None:
    file.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def _read_layouts(root: Path) -> dict[str, layouts.Layout]:
    try:
        return dict(json.loads((root / LAYOUTS_ACCEPTED).read_text(encoding="utf-8"))["layouts"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{LAYOUTS_ACCEPTED}: must hold the accepted layouts, got {error!r}; take it from version control"
        ) from None


def _buf(root: Path, *command: str) -> list[str]:
    """Runs `buf`; returns its complaints, each `file:line:column: rule`."""
    beside = Path(sys.executable).with_name("buf")
    program = str(beside) if beside.exists() else shutil.which("buf")
    if program is None:
        raise InputError("buf: must be installed to check events.proto, got none; pip install 'sentra-lab[dev]'")
    done = subprocess.run([program, *command], cwd=root, capture_output=True, text=True, check=False)
    lines = [" ".join(line.split()) for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return lines or ["buf: must tell what is wrong, got nothing"] if done.returncode else []

"""The frame of a pipeline process: one that has drained by itself ends in order, also when it is asked to end just then."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

from live_adapters.measurable import PORTS
from live_adapters.pipeline.config import RunConfig, write_config
from live_adapters.pipeline.process import Lifecycle
from sentra_sim.scenario import load_scenario

ROOT = Path(__file__).parents[2]
# Asked to end while the interpreter takes itself down: what an orchestrator does that first drains and then stops a process.
DRAINED = """
    import os, signal
    from live_adapters.pipeline.process import run_process

    async def serve(config, life):
        print("served")

    class Late:
        def __del__(self, kill=os.kill, pid=os.getpid(), number=signal.SIGTERM):
            kill(pid, number)

    late = Late()
    run_process("drained", serve)
"""
# Starts after its parent has died, and then waits for something that went with it.
ORPHAN = """
    import asyncio
    from live_adapters.pipeline import process

    process.ORPHAN_DRAIN_S = 0.1

    async def serve(config, life):
        await life.stopped()
        print("asked to stop", flush=True)
        await asyncio.Event().wait()

    process.run_process("orphan", serve)
"""


def run(program: str, scratch: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    numbers = dict.fromkeys([*(f"{name}_port" for name in PORTS), "redis_port", "clickhouse_port"], 1)
    addresses = dict.fromkeys(["kafka", "postgres_dsn", "redis_host", "clickhouse_host", "topic"], "")
    config = RunConfig(
        scenario=load_scenario(ROOT / "data" / "scenarios" / "sentra.yaml"),
        seed=1,
        warmup_s=0.0,
        load_s=1.0,
        scratch=scratch,
        **numbers,  # type: ignore[arg-type]
        **addresses,  # type: ignore[arg-type]
    )
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), "--config", str(write_config(config))],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_process_that_is_asked_to_end_while_it_ends_does_so_in_order(tmp_path: Path) -> None:
    done = run(DRAINED, tmp_path)
    assert done.returncode == 0, (
        signal.Signals(-done.returncode) if done.returncode < 0 else done.returncode,
        done.stderr,
    )
    assert done.stdout == "served\n"


def test_a_process_whose_parent_died_before_it_was_up_ends_even_when_it_cannot_drain(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as parent:
        pass
    done = run(ORPHAN, tmp_path, SENTRA_PARENT=str(parent.pid))
    assert done.stdout == "asked to stop\n"
    assert done.returncode == 1
    assert "nobody left to wait for it" in done.stderr


def test_without_telemetry_a_process_serves_no_metrics_and_notes_no_pauses(tmp_path: Path) -> None:
    async def live(*, telemetry: bool) -> list[str]:
        life = Lifecycle("quiet", tmp_path, telemetry=telemetry)
        life.expose()
        life.ready()
        return sorted(file.name for file in tmp_path.iterdir())

    for telemetry in (False, True):
        found = asyncio.run(live(telemetry=telemetry))
        assert ("quiet.metrics" in found) == ("quiet.gc.bin" in found) == telemetry

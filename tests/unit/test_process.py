"""The frame of a pipeline process: one that has drained by itself ends in order, also when it is asked to end just then."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

from live_adapters.measurable import PORTS
from live_adapters.pipeline.config import RunConfig, write_config
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


def test_a_process_that_is_asked_to_end_while_it_ends_does_so_in_order(tmp_path: Path) -> None:
    numbers = dict.fromkeys([*(f"{name}_port" for name in PORTS), "redis_port", "clickhouse_port"], 1)
    addresses = dict.fromkeys(["kafka", "postgres_dsn", "redis_host", "clickhouse_host", "topic"], "")
    config = RunConfig(
        scenario=load_scenario(ROOT / "data" / "scenarios" / "sentra.yaml"),
        seed=1,
        warmup_s=0.0,
        load_s=1.0,
        scratch=tmp_path,
        **numbers,  # type: ignore[arg-type]
        **addresses,  # type: ignore[arg-type]
    )
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(DRAINED), "--config", str(write_config(config))],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, (
        signal.Signals(-done.returncode) if done.returncode < 0 else done.returncode,
        done.stderr,
    )
    assert done.stdout == "served\n"
